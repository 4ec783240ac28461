"""Say how a candidate samples: everything beside the schedule that decides what is computed for one image.

An axis of sampling is a field here: a value, or a dataclass in its own file, which says what it does to the steps of a
plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from functools import cached_property
from typing import Any

from flexsearch.errors import UserError
from flexsearch.schedule.cache import NO_CACHE, Cache
from flexsearch.schedule.clock import Shift
from flexsearch.schedule.fields import REQUIRED, check_fields, declared
from flexsearch.schedule.gain import NO_GAIN, Gain
from flexsearch.schedule.guidance import ALL_ROWS, GuidanceRows
from flexsearch.schedule.solver import SolverName
from flexsearch.schedule.start import Start
from flexsearch.schedule.step import LEGEND_OF_STEPS, LETTERS
from flexsearch.settings import ListedCount

SAMPLING_LEGEND = (
    f"x sampler steps, their solver, their shift towards noise; {LEGEND_OF_STEPS}; after p, how many blocks it "
    "computes; gain: a factor on tokens, @ before which block"
)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """The choices of sampling.

    Attributes:
        steps: sampler steps.
        solver: takes them.
        shift: of flow matching's times towards noise, beside the base's own.
        start: what gives the output of the first step.
        cache: what is reused over steps.
        guidance: which steps compute both rows of guidance.
        gain: factors on tokens.
    """

    steps: ListedCount = field(metadata={"key": "sampler_steps"})
    solver: SolverName = "base"
    shift: Shift = 1.0
    start: Start = "model"
    cache: Cache = NO_CACHE
    guidance: GuidanceRows = ALL_ROWS
    gain: Gain = NO_GAIN

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def num_calls(self) -> int:
        """Steps of the solver, each with a diffusion time: Heun's method has two per sampler step, but for the last."""
        return 2 * self.steps - 1 if self.solver == "heun" else self.steps

    @property
    def num_patterned(self) -> int:
        """Steps of the solver that may reuse and be reused: all, or all but a first one that calls no model."""
        return self.num_calls - (self.start != "model")

    @property
    def pattern(self) -> str:
        """A letter per step of the solver, as `Step.letter`, before a schedule says what can be reused."""
        return ("" if self.start == "model" else LETTERS[self.start]) + self.cache.of(self.num_patterned)

    def spelled(self, *, num_blocks: int) -> dict[str, Any]:
        """Say what sampling does to a model, as JSON values: what does the same is spelled alike, defaults left out."""
        if num_blocks not in self._spelled:  # asked for at every draw, and many candidates share a sampling
            cache = self.cache.spelled(self.num_patterned, num_blocks=num_blocks)
            rest = {key: value for key, value in self.to_dict().items() if key != "cache"}
            self._spelled[num_blocks] = {**rest, **({"cache": cache} if cache else {})}
        return dict(self._spelled[num_blocks])

    @cached_property
    def _spelled(self) -> dict[int, dict[str, Any]]:
        """What sampling does, by the number of blocks."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values, defaults left out, so that a candidate of an older version keeps its digest."""
        return _changed(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Sampling":
        """Read JSON values; keys of others are left alone.

        Raises:
            UserError: a value is out of range; names the field.
            KeyError: the steps are missing.
        """
        wanted = [one for one in declared(cls) if one.key in values or one.default is REQUIRED]
        return cls(**{one.name: _read(one.default, values[one.key], one.key) for one in wanted})

    def __str__(self) -> str:
        pattern = self.pattern
        parts = [f"x{self.steps}"]
        if self.solver != "base":
            parts.append(self.solver)
        if self.shift != 1:
            parts.append(f"shift {self.shift:g}")
        if set(pattern) != {"F"}:
            parts.append(pattern)
        if "p" in pattern:
            ends = f"+{self.cache.last}" if self.cache.last else ""
            parts.append(f"{self.cache.first}{ends}{' modules' if self.cache.reuse == 'modules' else ''}")
        if set(pattern) & set("pn") and self.cache.order == 0:
            parts.append("o0")
        if self.guidance != ALL_ROWS:
            every = f" every {self.guidance.every}" if self.guidance.every > 1 else ""
            parts.append(f"guided {self.guidance.start:g}-{self.guidance.end:g}{every}")
        if self.gain.stream != 1:
            parts.append(f"gain {self.gain.stream:g}@{self.gain.at}")
        if self.gain.skip != 1:
            parts.append(f"skip {self.gain.skip:g}")
        return " ".join(parts)


def _changed(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not at their defaults, by key."""
    found = {}
    for one in declared(type(value)):
        own = getattr(value, one.name)
        if own != one.default:
            found[one.key] = _changed(own) if is_dataclass(own) else own
    return found


def _read(default: Any, value: Any, key: str) -> Any:
    """A field's value from JSON: axes with several fields are mappings."""
    if not is_dataclass(default) or not isinstance(value, Mapping):
        return value
    names = {one.key: one.name for one in declared(type(default))}
    unknown = sorted(set(value) - set(names))
    if unknown:
        raise UserError(f"must be one of {list(names)}, but got {unknown[0]!r}", field=key)
    try:
        return type(default)(**{names[one]: item for one, item in value.items()})  # type: ignore[misc]
    except UserError as error:
        raise error.under(key) from None
