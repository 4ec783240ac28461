"""A YAML file of settings: read, overridden by `key=value`, and checked. Every error names the field's path."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from flexsearch.errors import UserError
from flexsearch.old_names import with_new_names

T = TypeVar("T")


def read_values(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file, after `key=value` overrides.

    Raises:
        UserError: the file is not there or not a mapping, or an override cannot be applied.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", field=str(path)) from None
    except UnicodeDecodeError:
        raise UserError("is not YAML (it is not text)", field=str(path)) from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"is not YAML ({' '.join(str(error).split())})", field=str(path)) from None
    if not isinstance(values, dict):
        raise UserError(f"must be a mapping, but got {type(values).__name__}", field=str(path))
    for override in overrides:
        _override(values, override)
    return with_new_names(values)


def checked(kind: type[T], values: Mapping[str, Any]) -> T:
    """The settings of class `kind` that `values` spell.

    Raises:
        UserError: a field is unknown, missing or wrong; names it, the rule and the value.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise _first_error(error, kind) from None


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    *parents, last = names = key.split(".")
    if not separator or not all(names):
        nearest = f"--set {override}=VALUE" if not separator and all(names) else None
        raise UserError(f"must be key=value, but got {override!r}", field="--set", nearest=nearest)
    place: Any = values
    for name in parents:
        place = place[_index(name, place, key)] if isinstance(place, list) else place.setdefault(name, {})
        if not isinstance(place, dict | list):
            raise UserError(f"{name} is a value and has no fields", field=f"--set {key}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"cannot be set to {text!r}", field=f"--set {key}") from None
    place[_index(last, place, key) if isinstance(place, list) else last] = value


def _index(name: str, entries: Sequence[Any], key: str) -> int:
    """The number of an entry of a list, from 0."""
    if name.isdecimal() and int(name) < len(entries):
        return int(name)
    rule = f"must name one of {len(entries)} entries by its number, from 0, but got {name}"
    raise UserError(rule, field=f"--set {key}", nearest=len(entries) - 1 if entries else None)


def _first_error(error: ValidationError, kind: type[Any]) -> UserError:
    unknown = ("unexpected_keyword_argument", "extra_forbidden")
    found = min(error.errors(include_url=False), key=lambda one: one["type"] not in unknown)  # a typo explains the rest
    path = ".".join(str(part) for part in found["loc"])
    if found["type"] == "user_error":
        told: UserError = found["ctx"]["error"]
        return told.under(path)
    if found["type"] in unknown:
        *_, name = found["loc"]
        close = difflib.get_close_matches(str(name), _all_fields(kind), n=1)
        return UserError("is not a known field", field=path, nearest=close[0] if close else None)
    if found["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return UserError("is missing", field=path)
    message = found["msg"].replace("Input should be", "must be")
    return UserError(f"{message}, but got {found['input']!r}", field=path)


def _all_fields(kind: type[Any]) -> list[str]:
    names: set[str] = set()
    schema = TypeAdapter(kind).json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        names |= set(part.get("properties", {}))
    return sorted(names)
