"""JSON schema of the `space` part of a search space, for editors: what the fields declare, each a value or a domain.

It says less than `parse_space` checks: nothing of how fields go together.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from flexsearch.schedule.families import FAMILIES
from flexsearch.schedule.fields import REQUIRED, Field, declared, is_part
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.timetable import LinearTimetable
from flexsearch.space.search_space import Layout

_LIST = {"type": "array", "minItems": 1}
_PAIR = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}}
_DOMAINS = {
    name: {"type": "object", "required": [name], "additionalProperties": False, "properties": {name: content}}
    for name, content in (("int", _PAIR), ("float", _PAIR), ("choice", _LIST))
}
_REPEAT = {"repeat": {"type": "integer", "minimum": 0}}


def space_schema() -> dict[str, Any]:
    """Give the schema of the `space` part."""
    segments = [_segment(name, family) for name, family in sorted(FAMILIES.items())]
    parts = {"segments": {**_LIST, "items": {"anyOf": segments}}, "timetable": _mapping(declared(LinearTimetable))}
    found = _mapping([*declared(Layout), *declared(Sampling)])
    return {**found, "properties": {**parts, **found["properties"]}, "required": ["segments"]}


def _segment(name: str, family: Any) -> dict[str, Any]:
    found = _mapping(declared(family), rest=family.rest, more=_REPEAT)
    properties = {"family": {"const": name}, **found["properties"]}
    return {**found, "properties": properties, "required": ["family", *found.get("required", [])]}


def _mapping(fields: Iterable[Field], *, rest: str | None = None, more: dict[str, Any] | None = None) -> dict[str, Any]:
    fields = list(fields)
    properties = {
        one.key: _mapping(declared(one.annotation))
        if is_part(one.annotation)
        else _searched(TypeAdapter(one.annotation).json_schema(), may_be_rest=one.key == rest)
        for one in fields
    }
    properties |= {name: _searched(value, may_be_rest=False) for name, value in (more or {}).items()}
    required = [one.key for one in fields if one.default is REQUIRED and not is_part(one.annotation)]
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required}


def _searched(constant: dict[str, Any], *, may_be_rest: bool) -> dict[str, Any]:
    """A constant, a domain, or the rest of the blocks."""
    return {"anyOf": [constant, *([{"const": "rest"}] if may_be_rest else []), *_DOMAINS.values()]}
