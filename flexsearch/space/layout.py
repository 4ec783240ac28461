"""The segments part of a search space: which fields are searched, and how a choice becomes blocks.

Valid by construction: one number of blocks may be `rest`, and every combination of the others is checked, once, to
leave it enough blocks. Any segment may be repeated, or left out (`repeat: 0`); `rest` is then spread evenly.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flexsearch.errors import UserError
from flexsearch.schedule.families import Segment, family_named
from flexsearch.settings import Count
from flexsearch.space.domains import Rest, Value
from flexsearch.space.searched import Searched, parse_searched

_REPEAT = ("repeat", Count, 1)


def parse_segments(entries: Any, *, field: str) -> tuple[Searched, ...]:
    """Read `space.segments`.

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
        family = family_named(entry.get("family"), field=f"{path}.family")
        number = families[family.family] = families.get(family.family, 0) + 1
        name = family.family if number == 1 else f"{family.family}_{number}"
        own = {key: value for key, value in entry.items() if key != "family"}
        spaces.append(parse_searched(family, own, name=name, field=path, rest=family.rest, beside=(_REPEAT,)))
    rests = [
        f"{space.name}.{key}" for space in spaces for key, value in space.fields.items() if isinstance(value, Rest)
    ]
    if len(rests) > 1:
        raise UserError(f"at most one depth may be rest, but got {rests}", field=field)
    return tuple(spaces)


def build_segments(
    spaces: Sequence[Searched], parameters: Mapping[str, Value], *, num_blocks: int
) -> tuple[Segment, ...]:
    """Give the segments of one choice of parameters; `rest` takes the blocks that are left.

    Raises:
        UserError: the depths exceed `num_blocks`, or leave blocks over and no `rest` takes them.
    """
    resolved = [(space.kind, space.resolve(parameters)) for space in spaces]
    left = num_blocks - sum(len(one.roles) for family, fields in resolved for one in _repeated(family, fields, rest=0))
    has_rest = any(isinstance(value, Rest) for _, fields in resolved if fields["repeat"] for value in fields.values())
    if left < 0 or (left > 0 and not has_rest):
        total, chosen = num_blocks - left, {name: parameters[name] for name in sorted(parameters) if "." in name}
        rule = "at most" if has_rest else "exactly"
        raise UserError(
            f"depths must add up to {rule} {num_blocks} blocks, but got {total} with {chosen or 'constants'}"
        )
    return tuple(segment for family, fields in resolved for segment in _repeated(family, fields, rest=left))


def _repeated(family: type[Segment], fields: Mapping[str, Any], *, rest: int) -> Iterator[Segment]:
    """The segment, as often as it is repeated; the first ones get a block more where `rest` is not a multiple."""
    repeat = fields["repeat"]
    if not repeat:
        return
    share, extra = divmod(rest, repeat)
    for index in range(repeat):
        own = {key: value for key, value in fields.items() if key != "repeat"}
        yield family(
            **{key: share + (index < extra) if isinstance(value, Rest) else value for key, value in own.items()}
        )
