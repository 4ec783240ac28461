"""Declared fields: the type beside the name is what a value is checked against, in a schedule and in a search space.

Types are `int`, `float`, `bool`, `str`, `Literal[...]`, with bounds of annotated_types (`Annotated[int, Ge(0)]`).
"""

import math
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from flexsearch.errors import UserError

REQUIRED = MISSING


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
    kind, bounds, is_optional = _rule(annotation)
    if value is None and is_optional:
        return
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise UserError(f"must be one of {list(get_args(kind))}, but got {value!r}", field=field)
    elif kind in _RULES:
        accepted: tuple[type, ...] = (int, float) if kind is float else (kind,)
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise UserError(f"must be {_RULES[kind]}, but got {value!r}", field=field)
        if isinstance(value, int | float):
            _check_bounds(value, bounds, field=field)
    elif is_part(kind) and not isinstance(value, kind):
        raise UserError(f"must be a mapping, but got {value!r}", field=field)


def is_part(annotation: Any) -> bool:
    """Whether a field is a mapping with declared fields of its own."""
    return isinstance(annotation, type) and is_dataclass(annotation)


_RULES: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}


@cache
def _rule(annotation: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """(type, bounds, whether it may be None)."""
    is_optional = not _is_annotated(annotation) and type(None) in get_args(annotation)
    if is_optional:
        (annotation,) = (one for one in get_args(annotation) if one is not type(None))
    kind, *bounds = get_args(annotation) if _is_annotated(annotation) else (annotation,)
    return kind, tuple(bounds), is_optional


def _check_bounds(value: float, bounds: tuple[Any, ...], *, field: str | None) -> None:
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


def _is_annotated(annotation: Any) -> bool:
    return get_origin(annotation) is Annotated
