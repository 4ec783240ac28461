"""Say what a field of a search space may hold: a constant, or one domain (`int`, `float`, `choice`, or `rest`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flexsearch.errors import UserError

Value = bool | int | float | str | None

MOST_VALUES = 10_000
"""Whole numbers of one domain: they are listed."""


@dataclass(frozen=True, kw_only=True)
class Int:
    """Whole numbers from `low` to `high`, both included, in steps of `step`."""

    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        if self.step < 1:
            raise UserError(f"step must be at least 1, but got {self.step}", nearest=1)
        if self.low > self.high:
            raise UserError(f"low <= high must hold, but got [{self.low}, {self.high}]", nearest=[self.high, self.low])
        if (self.high - self.low) // self.step >= MOST_VALUES:
            nearest = [self.low, self.low + (MOST_VALUES - 1) * self.step, self.step]
            rule = f"must have at most {MOST_VALUES:,} values, but got [{self.low}, {self.high}, {self.step}]"
            raise UserError(rule, nearest=nearest)

    @property
    def values(self) -> tuple[int, ...]:
        """Every value, rising."""
        return tuple(range(self.low, self.high + 1, self.step))


@dataclass(frozen=True, kw_only=True)
class Float:
    """Real numbers from `low` to `high`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise UserError(f"low <= high must hold, but got [{self.low}, {self.high}]", nearest=[self.high, self.low])

    @property
    def values(self) -> None:
        """None: there are too many to list."""
        return None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of the listed values."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise UserError("choice must list at least one value, but got none")
        if len(set(map(repr, self.values))) < len(self.values):
            raise UserError(f"choice must not repeat a value, but got {list(self.values)}")


@dataclass(frozen=True)
class Rest:
    """What the other depths leave."""


Domain = Int | Float | Choice
REST = Rest()


def corners(domain: Domain) -> tuple[Value, ...]:
    """Give every value, or both ends of a continuous domain: what cannot be listed is checked there."""
    return (domain.low, domain.high) if isinstance(domain, Float) else domain.values


def parse_domain(value: Any) -> Value | Domain | Rest:
    """Read a YAML value: a scalar is a constant, `rest` is `Rest`, a mapping with one key is a domain.

    Raises:
        UserError: not one of these.
    """
    if value == "rest":
        return REST
    if not isinstance(value, dict):
        if isinstance(value, bool | int | float | str) or value is None:
            return value
        raise UserError(f"must be a constant or one domain, but got {value!r}", nearest="{choice: [...]}")
    if len(value) != 1 or next(iter(value)) not in ("int", "float", "choice"):
        raise UserError(
            f"a domain has exactly one key out of int, float, choice, but got {sorted(map(str, value))}",
            nearest="{int: [1, 3]}",
        )
    kind, content = next(iter(value.items()))
    if not isinstance(content, Sequence) or isinstance(content, str):
        raise UserError(f"must be a list, but got {content!r}", field=kind)
    try:
        return _domain(kind, content)
    except UserError as error:
        raise error.under(kind) from None


def _domain(kind: str, content: Sequence[Any]) -> Domain:
    if kind == "choice":
        if not all(isinstance(item, bool | int | float | str) or item is None for item in content):
            raise UserError(f"choices must be scalars, but got {list(content)}")
        return Choice(values=tuple(content))
    expected: tuple[type, ...] = (int,) if kind == "int" else (int, float)
    lengths = (2, 3) if kind == "int" else (2,)
    if len(content) not in lengths or any(isinstance(x, bool) or not isinstance(x, expected) for x in content):
        rule = "[low, high] or [low, high, step], whole numbers" if kind == "int" else "[low, high], numbers"
        raise UserError(f"must be {rule}, but got {list(content)}")
    if kind == "int":
        return Int(low=content[0], high=content[1], step=content[2] if len(content) == 3 else 1)
    return Float(low=float(content[0]), high=float(content[1]))
