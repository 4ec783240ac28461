"""Declared fields: the type beside the name is what a value is checked against, in a schedule and in a search space.

Types are `int`, `float`, `bool`, `str`, `Literal[...]`, with bounds of annotated_types (`Annotated[int, Ge(0)]`) or, of
strings, a `Pattern`; or several of them (`int | str`).
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from flexsearch.errors import UserError

REQUIRED = MISSING


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """What a string must be: bound of an annotated `str`.

    Attributes:
        regex: that matches the whole of it.
        said: what it is, for errors, after "must be".
    """

    regex: str
    said: str

    def __get_pydantic_json_schema__(self, schema: Any, handler: Callable[[Any], Any]) -> Any:
        return {**handler(schema), "pattern": f"^{self.regex}$"}


@dataclass(frozen=True, kw_only=True)
class Field:
    """One declared field.

    Attributes:
        name: of the attribute.
        key: in YAML and JSON; the name unless the declaration says otherwise (`metadata={"key": ...}`).
        annotation: its type.
        default: `REQUIRED` where there is none.
    """

    name: str
    key: str
    annotation: Any
    default: Any


def declared(kind: Any) -> tuple[Field, ...]:
    """List the fields of a dataclass, in their order."""
    return _declared(kind)


@cache
def _declared(kind: Any) -> tuple[Field, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        Field(name=one.name, key=one.metadata.get("key", one.name), annotation=hints[one.name], default=one.default)
        for one in fields(kind)
    )


def check_fields(instance: Any) -> None:
    """Check every field of a dataclass against its type.

    Raises:
        UserError: names the field, the rule, the value and the nearest legal one.
    """
    for one in declared(type(instance)):
        check_value(getattr(instance, one.name), one.annotation, field=one.key)


def check_value(value: Any, annotation: Any, *, field: str | None = None) -> None:
    """Check one value against a declared type.

    Raises:
        UserError: names the field, the rule, the value and the nearest legal one.
    """
    rules, is_optional = _rules(annotation)
    if value is None and is_optional:
        return
    for kind, bounds in rules:
        if get_origin(kind) is Literal:
            if value in get_args(kind):
                return
        elif kind in _KINDS and _is_of(value, kind):
            _check_bounds(value, bounds, field=field)
            return
        elif kind not in _KINDS and (not is_part(kind) or isinstance(value, kind)):
            return
    said = " or ".join(_said(kind, bounds) for kind, bounds in rules)
    raise UserError(f"must be {said}, but got {value!r}", field=field)


def is_part(annotation: Any) -> bool:
    """Tell whether a field is a mapping with declared fields of its own."""
    return isinstance(annotation, type) and is_dataclass(annotation)


_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}


@cache
def _rules(annotation: Any) -> tuple[tuple[tuple[Any, tuple[Any, ...]], ...], bool]:
    """(type, bounds) of every type that is allowed, and whether it may be None."""
    is_union = get_origin(annotation) in (Union, UnionType)
    members = get_args(annotation) if is_union else (annotation,)
    kinds = [one for one in members if one is not type(None)]
    return tuple((parts[0], parts[1:]) for parts in map(_parts, kinds)), len(kinds) < len(members)


def _is_of(value: Any, kind: Any) -> bool:
    accepted: tuple[type, ...] = (int, float) if kind is float else (kind,)
    return isinstance(value, accepted) and (not isinstance(value, bool) or kind is bool)


def _said(kind: Any, bounds: tuple[Any, ...]) -> str:
    """Give what a value is, after "must be"."""
    if get_origin(kind) is Literal:
        return f"one of {list(get_args(kind))}"
    patterns = [bound.said for bound in bounds if isinstance(bound, Pattern)]
    return patterns[0] if patterns else _KINDS.get(kind, "a mapping")


def _check_bounds(value: Any, bounds: tuple[Any, ...], *, field: str | None) -> None:
    if isinstance(value, str):
        for bound in bounds:
            if isinstance(bound, Pattern) and not re.fullmatch(bound.regex, value):
                raise UserError(f"must be {bound.said}, but got {value!r}", field=field)
        return
    if not math.isfinite(value):
        raise UserError(f"must be finite, but got {value}", field=field)
    for rule, limit, holds, is_reached in _limits(value, bounds):
        if not holds:
            raise UserError(
                f"must be {rule} {limit}, but got {value}", field=field, nearest=limit if is_reached else None
            )


def _limits(value: float, bounds: tuple[Any, ...]) -> Iterator[tuple[str, Any, bool, bool]]:
    """(rule, limit, whether it holds, whether the limit itself is legal) of every bound."""
    limited: Any = value
    for bound in bounds:
        if isinstance(bound, Ge):
            yield "at least", bound.ge, limited >= bound.ge, True
        elif isinstance(bound, Gt):
            yield "more than", bound.gt, limited > bound.gt, False
        elif isinstance(bound, Le):
            yield "at most", bound.le, limited <= bound.le, True
        elif isinstance(bound, Lt):
            yield "less than", bound.lt, limited < bound.lt, False


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The type and its bounds."""
    return get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
