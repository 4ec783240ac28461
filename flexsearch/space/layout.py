"""The segments part of a search space: which fields are searched, and how a choice becomes blocks.

Valid by construction: one depth may be `rest`, and every combination of the others is checked, once, to leave it enough
blocks.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from flexsearch.errors import UserError
from flexsearch.schedule.segments import FAMILIES, Sdtm, Segment, family_named
from flexsearch.space.domains import REST, Choice, Domain, Float, Int, Rest, Value, parse_domain

LEAST = {"repeat": 1, "merge": 1}
"""Of fields that may not be 0."""


@dataclass(frozen=True, kw_only=True)
class SegmentSpace:
    """One entry of `space.segments`: a family and, per field, a constant, a domain or `rest`."""

    family: str
    name: str
    fields: Mapping[str, Value | Domain | Rest]

    @property
    def domains(self) -> Iterator[tuple[str, Domain]]:
        """Searched fields as (parameter name, domain)."""
        for field, value in self.fields.items():
            if isinstance(value, Int | Float | Choice):
                yield f"{self.name}.{field}", value

    def resolve(self, parameters: Mapping[str, Value]) -> dict[str, int | Rest]:
        """The fields with domains replaced by the chosen values."""
        resolved: dict[str, Any] = {}
        for field, value in self.fields.items():
            is_searched = isinstance(value, Int | Float | Choice)
            resolved[field] = parameters[f"{self.name}.{field}"] if is_searched else value
        return resolved


def parse_segments(entries: Any, *, field: str) -> tuple[SegmentSpace, ...]:
    """Reads `space.segments`.

    Raises:
        UserError: not a list of mappings, an unknown family or field, a value out of range, or more than one `rest`.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise UserError(f"must be a list of segments, but got {entries!r}", field=field)
    families: dict[str, int] = {}
    spaces = []
    for index, entry in enumerate(entries):
        path = f"{field}[{index}]"
        if not isinstance(entry, Mapping):
            raise UserError(f"must be a mapping with a family, but got {entry!r}", field=path)
        family = family_named(entry.get("family"), field=f"{path}.family").family
        families[family] = families.get(family, 0) + 1
        name = family if families[family] == 1 else f"{family}_{families[family]}"
        spaces.append(_parse_segment(entry, family=family, name=name, path=path))
    rests = [f"{space.name}.{key}" for space in spaces for key, value in space.fields.items() if value is REST]
    if len(rests) > 1:
        raise UserError(f"at most one depth may be rest, but got {rests}", field=field)
    return tuple(spaces)


def _parse_segment(entry: Mapping[str, Any], *, family: str, name: str, path: str) -> SegmentSpace:
    specs = dataclasses.fields(cast("Any", FAMILIES[family]))
    allowed = [spec.name for spec in specs]
    defaults = {spec.name: spec.default for spec in specs if spec.default is not dataclasses.MISSING}
    if family == Sdtm.family:
        allowed, defaults = ["repeat", *allowed], {"repeat": 1, **defaults}
    unknown = sorted(set(entry) - {"family", *allowed})
    if unknown:
        raise UserError(f"unknown field, {family} has {allowed}", field=f"{path}.{unknown[0]}")
    fields: dict[str, Value | Domain | Rest] = {}
    for key in allowed:
        if key not in entry:
            if key not in defaults:
                raise UserError("is missing", field=f"{path}.{key}", nearest="rest")
            fields[key] = defaults[key]
            continue
        fields[key] = _parse_depth(entry[key], key=key, path=f"{path}.{key}")
    return SegmentSpace(family=family, name=name, fields=fields)


def _parse_depth(value: Any, *, key: str, path: str) -> Value | Domain | Rest:
    parsed = parse_domain(value, field=path)
    if parsed is REST:
        if key not in ("depth", "sparse"):
            raise UserError("only depth or sparse may be rest", field=path)
        return parsed
    values = parsed.values if isinstance(parsed, Int | Float | Choice) else (parsed,)
    for number in values if values is not None else ():
        if isinstance(number, bool) or not isinstance(number, int):
            raise UserError(f"must be a whole number, but got {number!r}", field=path)
        least = LEAST.get(key, 0)
        if number < least:
            raise UserError(f"must be at least {least}, but got {number}", field=path, nearest=least)
    if values is None:
        raise UserError("must be whole numbers, but got a float domain", field=path, nearest="{int: [1, 3]}")
    return parsed


def build_segments(
    spaces: Sequence[SegmentSpace], parameters: Mapping[str, Value], *, num_blocks: int
) -> tuple[Segment, ...]:
    """The segments of one choice of parameters; `rest` takes the blocks that are left, spread evenly over modules.

    Raises:
        UserError: the depths exceed `num_blocks`, or leave blocks over and no `rest` takes them.
    """
    resolved = [(space, space.resolve(parameters)) for space in spaces]
    left = num_blocks - sum(_fixed_blocks(space, fields) for space, fields in resolved)
    has_rest = any(value is REST for _, fields in resolved for value in fields.values())
    if left < 0 or (left > 0 and not has_rest):
        total, chosen = num_blocks - left, {name: parameters[name] for name in sorted(parameters) if "." in name}
        rule = "at most" if has_rest else "exactly"
        raise UserError(
            f"depths must add up to {rule} {num_blocks} blocks, but got {total} with {chosen or 'constants'}"
        )
    return tuple(segment for space, fields in resolved for segment in _segments(space, fields, rest=left))


def _fixed_blocks(space: SegmentSpace, fields: Mapping[str, Any]) -> int:
    numbers = {key: 0 if value is REST else value for key, value in fields.items()}
    if space.family == Sdtm.family:
        return int(numbers["repeat"] * (numbers["merge"] + numbers["sparse"] + 1 + numbers["dense"]))
    return len(_segment(space.family, numbers).roles)


def _segments(space: SegmentSpace, fields: Mapping[str, Any], *, rest: int) -> Iterator[Segment]:
    if space.family != Sdtm.family:
        yield _segment(space.family, {key: rest if value is REST else value for key, value in fields.items()})
        return
    share, extra = divmod(rest, fields["repeat"])
    for module in range(fields["repeat"]):
        sparse = share + (module < extra) if fields["sparse"] is REST else fields["sparse"]
        yield Sdtm(merge=fields["merge"], sparse=sparse, dense=fields["dense"])


def _segment(family: str, fields: Mapping[str, Any]) -> Segment:
    built: Segment = cast("Any", FAMILIES[family])(**fields)
    return built
