"""The searchable fields of a dataclass: in YAML each is a constant, one domain, or (one of them) `rest`.

Which fields there are, their types, bounds and defaults is what the dataclass declares (`flexsearch.schedule.fields`);
pydantic checks a mapping against it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError

from flexsearch.errors import UserError
from flexsearch.schedule.fields import REQUIRED, check_value, declared, is_part
from flexsearch.settings_file import checked
from flexsearch.space.domains import Choice, Domain, Float, Int, Rest, Value, parse_domain


@dataclass(frozen=True, kw_only=True)
class Searched:
    """One mapping of a search space.

    Attributes:
        kind: the dataclass that it builds.
        name: prefix of its parameters, e.g. "sdtm"; "" for none.
        fields: by key in YAML; mappings inside it are searched alike.
    """

    kind: type[Any]
    name: str
    fields: Mapping[str, "Value | Domain | Rest | Searched"]

    @cached_property
    def domains(self) -> tuple[tuple[str, Domain], ...]:
        """Searched fields as (parameter name, domain)."""
        found: list[tuple[str, Domain]] = []
        for key, value in self.fields.items():
            if isinstance(value, Int | Float | Choice):
                found.append((self._parameter(key), value))
            elif isinstance(value, Searched):
                found += value.domains
        return tuple(found)

    @property
    def own_domains(self) -> tuple[tuple[str, Domain], ...]:
        """Those that are not of mappings inside it."""
        inside = {name for part in self.parts for name, _ in part.domains}
        return tuple((name, domain) for name, domain in self.domains if name not in inside)

    @property
    def parts(self) -> "Iterator[Searched]":
        """The mappings inside it."""
        return (value for value in self.fields.values() if isinstance(value, Searched))

    def resolve(self, parameters: Mapping[str, Value]) -> dict[str, Any]:
        """Replace domains by the chosen values; keys become the dataclass's field names."""
        names = {one.key: one.name for one in declared(self.kind)}
        return {names.get(key, key): self._resolved(key, value, parameters) for key, value in self.fields.items()}

    def build(self, parameters: Mapping[str, Value]) -> Any:
        """Build the dataclass of one choice of parameters."""
        return self.kind(**self.resolve(parameters))

    def _resolved(self, key: str, value: "Value | Domain | Rest | Searched", parameters: Mapping[str, Value]) -> Any:
        if isinstance(value, Searched):
            return value.build(parameters)
        return parameters[self._parameter(key)] if isinstance(value, Int | Float | Choice) else value

    def values_of(self, key: str) -> tuple[Any, ...]:
        """Every value that a field can take; none of a continuous or absent one."""
        value = self.fields.get(key)
        if isinstance(value, Int | Float | Choice):
            return value.values or ()
        return () if value is None or isinstance(value, Searched) else (value,)

    def _parameter(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def parse_searched(
    kind: Any,
    entries: Mapping[str, Any],
    *,
    name: str,
    field: str,
    rest: str | None = None,
    beside: tuple[tuple[str, Any, Any], ...] = (),
) -> Searched:
    """Read one mapping of a search space.

    Args:
        kind: the dataclass that it builds.
        entries: as YAML gives them.
        name: prefix of its parameters.
        field: path of the mapping, for errors.
        rest: the field that may be `rest`.
        beside: (key, type, default) of fields that the space has beside the dataclass's own; they come first.

    Raises:
        UserError: a field is unknown, missing, out of range, or not a constant or domain; names it.
    """
    parts = {one.key: one for one in declared(kind) if is_part(one.annotation)}
    inside: dict[str, Searched] = {}
    for key in [key for key in parts if key in entries]:
        part, path = entries[key], f"{field}.{key}"
        if not isinstance(part, Mapping):
            raise UserError(f"must be a mapping, but got {part!r}", field=path)
        prefix = f"{name}.{key}" if name else key
        inside[key] = parse_searched(parts[key].annotation, part, name=prefix, field=path)
    own = {key: value for key, value in entries.items() if key not in inside}
    try:
        found = checked(_model(kind, rest, beside), own)
    except UserError as error:
        raise error.under(field) from None
    return Searched(kind=kind, name=name, fields={**dict(found), **inside})


@cache
def _model(kind: Any, rest: str | None, beside: tuple[tuple[str, Any, Any], ...]) -> type[BaseModel]:
    """The mapping that `kind` reads, for pydantic."""
    own = tuple((one.key, one.annotation, one.default) for one in declared(kind) if not is_part(one.annotation))
    fields: dict[str, Any] = {}
    for key, annotation, default in (*beside, *own):
        kept = Field() if default is REQUIRED else Field(default=default)
        fields[key] = (Annotated[Any, BeforeValidator(_parse), AfterValidator(_checker(annotation, key, rest))], kept)
    return create_model(kind.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def _parse(value: Any) -> Value | Domain | Rest:
    try:
        return parse_domain(value)
    except UserError as error:
        raise _as_pydantics(error) from None


def _checker(annotation: Any, key: str, rest: str | None) -> Any:
    """Checks every value that a constant or domain can take."""

    def check(parsed: Value | Domain | Rest) -> Value | Domain | Rest:
        try:
            if isinstance(parsed, Rest):
                if key != rest:
                    raise UserError(f"only {rest} may be rest" if rest else "may not be rest")
            elif isinstance(parsed, Float):
                check_value(parsed.low, annotation)
                check_value(parsed.high, annotation)
            else:
                for value in parsed.values if isinstance(parsed, Int | Choice) else (parsed,):
                    check_value(value, annotation)
        except UserError as error:
            raise _as_pydantics(error) from None
        return parsed

    return check


def _as_pydantics(error: UserError) -> PydanticCustomError:
    return PydanticCustomError("user_error", "{message}", {"message": error.message, "error": error})
