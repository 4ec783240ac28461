"""A YAML file of settings: read, overridden by `key=value`, and checked. Every error names the field's path."""

import copy
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from flexsearch.errors import UserError, cut, reading, shown
from flexsearch.old_names import with_new_names

T = TypeVar("T")

_MOST_BYTES = 200_000
_MOST_DEPTH = 40
_MOST_NODES = 40_000


class _Loader(yaml.SafeLoader):
    """YAML of plain values, bounded: how deep it is, and how much it is where every alias is written out."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}

    def fetch_flow_collection_start(self, kind: Any) -> None:
        if self.flow_level >= _MOST_DEPTH:  # the scanner's time grows with its square, long before a node is composed
            raise UserError(f"must be at most {_MOST_DEPTH} levels deep")
        super().fetch_flow_collection_start(kind)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise UserError("must not hold itself")
            return node
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise UserError(f"must be at most {_MOST_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        children: list[Any] = node.value if isinstance(node, yaml.CollectionNode) else []
        flat = [one for child in children for one in (child if isinstance(child, tuple) else (child,))]
        self._sizes[id(node)] = 1 + sum(self._sizes[id(one)] for one in flat)
        if self._sizes[id(node)] > _MOST_NODES:
            raise UserError(f"must be at most {_MOST_NODES:,} values, aliases written out")
        return node

    def construct_scalar(self, node: yaml.Node) -> Any:
        value = super().construct_scalar(node)  # type: ignore[arg-type]
        if isinstance(value, str) and any(sign < " " and sign not in "\t\n" for sign in value):
            raise UserError(f"must hold no control characters, but got {shown(value)}")
        return value

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep=deep)  # type: ignore[arg-type]
        for key in found:
            if not isinstance(key, str):
                raise UserError(f"keys must be text, but got {shown(key)}")
        return found


_Loader.yaml_implicit_resolvers = {  # a date is text
    first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":timestamp")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag in ("binary", "timestamp", "omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", yaml.SafeLoader.construct_undefined)  # type: ignore[type-var]


def _loaded(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def read_values(source: Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file, or one that is given, after `key=value` overrides.

    Raises:
        UserError: the file is not there or not a mapping, or an override cannot be applied.
    """
    values = read_mapping(source) if isinstance(source, Path) else copy.deepcopy(dict(source))
    for override in overrides:
        _override(values, override)
    return with_new_names(values)


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, as it is there.

    Raises:
        UserError: the file is not there, not YAML or not a mapping, or larger than a file of settings can be.
    """
    with reading(path):
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UserError(f"must be at most {_MOST_BYTES:,} bytes", field=str(path))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("is not YAML (it is not text)", field=str(path)) from None
    with reading(path, rule="is not YAML"):
        values = _loaded(text)
    if not isinstance(values, dict):
        raise UserError(f"must be a mapping, but got {type(values).__name__}", field=str(path))
    return values


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
    with reading(f"--set {key}", rule=f"cannot be set to {shown(text)}"):
        value = _loaded(text)
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
        return UserError("is not a known field", field=cut(path), nearest=close[0] if close else None)
    if found["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return UserError("is missing", field=cut(path))
    message = found["msg"].replace("Input should be", "must be")
    return UserError(f"{message}, but got {shown(found['input'])}", field=cut(path))


def _all_fields(kind: type[Any]) -> list[str]:
    names: set[str] = set()
    schema = TypeAdapter(kind).json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        names |= set(part.get("properties", {}))
    return sorted(names)
