"""Read the `space` part of a configuration: YAML in, a space of valid candidates out."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flexsearch.errors import UserError
from flexsearch.schedule.fields import declared
from flexsearch.schedule.plan import Target
from flexsearch.schedule.role import check_roles
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import Side, TokenGrid
from flexsearch.schedule.timetable import LinearTimetable, OwnGrid
from flexsearch.schedule.width import EIGHTHS, HEADS, Width, check_width, num_heads
from flexsearch.space.domains import corners
from flexsearch.space.layout import parse_segments
from flexsearch.space.sampling_checks import MOST_CHECKED, check_sampling, combinations
from flexsearch.space.search_space import Layout, SearchSpace
from flexsearch.space.searched import Searched, parse_searched

_SPACE = "space"
_PARTS = ("segments", "timetable")
_LAYOUT = ("dense",)
_DEFAULT_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The fields of a `space` part, each read by itself; what they are together depends on the model."""

    segments: tuple[Searched, ...]
    timetable: Searched | None
    layout: Searched
    sampling: Searched


def read_fields(entries: Any) -> Fields:
    """Read the fields of the `space` part of a configuration, which needs no model.

    Raises:
        UserError: names the field, the rule, the value and the nearest legal one.
    """
    if not isinstance(entries, Mapping):
        raise UserError(f"must be a mapping, but got {entries!r}", field=_SPACE)
    known = (*_PARTS, *_LAYOUT, *(one.key for one in declared(Sampling)))
    for key in entries:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            raise UserError("is not a known field", field=f"{_SPACE}.{key}", nearest=close[0] if close else None)
    segments = parse_segments(entries.get("segments"), field=f"{_SPACE}.segments")
    timetable = _parse_timetable(entries.get("timetable"), field=f"{_SPACE}.timetable")
    if not _has_grids(timetable, "clean_grid") and any(_needs_grid(segment) for segment in segments):
        raise UserError("is missing: these segments need sparse grids", field=f"{_SPACE}.timetable.clean_grid")
    layout = parse_searched(Layout, {key: entries[key] for key in _LAYOUT if key in entries}, name="", field=_SPACE)
    chosen = {key: value for key, value in entries.items() if key not in (*_PARTS, *_LAYOUT)}
    sampling = parse_searched(Sampling, {"sampler_steps": _DEFAULT_STEPS, **chosen}, name="", field=_SPACE)
    return Fields(segments=segments, timetable=timetable, layout=layout, sampling=sampling)


def space_of(fields: Fields, *, target: Target) -> SearchSpace:
    """Build the space of a model, and check every combination once.

    Raises:
        UserError: names the field, the rule, the value and the nearest legal one.
    """
    _check_grids(fields, grid=target.shape.grid)
    space = SearchSpace(
        target=target,
        segments=fields.segments,
        timetable=fields.timetable,
        sampling=fields.sampling,
        layout=fields.layout,
    )
    _check_widths(space, field=f"{_SPACE}.segments")
    _check_layouts(space, field=f"{_SPACE}.segments")
    check_sampling(space, field=_SPACE)
    return space


def parse_space(entries: Any, *, target: Target) -> SearchSpace:
    """Read the `space` part of a configuration for a model.

    Raises:
        UserError: names the field, the rule, the value and the nearest legal one.
    """
    return space_of(read_fields(entries), target=target)


def _has_grids(part: Searched | None, key: str) -> bool:
    """Tell whether every choice of a mapping has sparse grids."""
    grids = () if part is None else part.values_of(key)
    return bool(grids) and None not in grids


def _needs_grid(segment: Searched) -> bool:
    """Tell whether some choice of a segment works on the timetable's sparse grids."""
    return segment.kind.needs_grid and not any(_has_grids(part, "clean") for part in _own_grids(segment))


def _own_grids(segment: Searched) -> list[Searched]:
    return [part for part in segment.parts if part.kind is OwnGrid]


def _parse_timetable(entries: Any, *, field: str) -> Searched | None:
    if entries is None:
        return None
    if not isinstance(entries, Mapping):
        raise UserError(f"must be a mapping, but got {entries!r}", field=field)
    return parse_searched(LinearTimetable, entries, name="timetable", field=field)


def _check_grids(fields: Fields, *, grid: TokenGrid) -> None:
    """Check that sparse grids, the timetable's and modules' own, can be built and are no larger than the model's."""
    parts = [] if fields.timetable is None else [(fields.timetable, f"{_SPACE}.timetable")]
    for index, segment in enumerate(fields.segments):
        parts += [(part, f"{_SPACE}.segments[{index}].grid") for part in _own_grids(segment)]
    for part, path in parts:
        for key in ("clean_grid", "noise_grid", "clean", "noise"):
            _check_sides([side for side in part.values_of(key) if side is not None], grid=grid, field=f"{path}.{key}")
        for number in part.values_of("frames"):
            if number is not None and number > grid.frames:
                most = grid.frames
                raise UserError(f"must be in [1, {most}], but got {number}", field=f"{path}.frames", nearest=most)
            try:
                grid.pooled(1, frames=number)
            except UserError as error:
                raise error.under(f"{path}.frames") from None
        for row in combinations(part, field=path):
            try:
                part.build(row)
            except UserError as error:
                raise error.under(path) from None


def _check_sides(sides: Sequence[Side], *, grid: TokenGrid, field: str) -> None:
    """Check that each names a grid of this model, and another one than the others."""
    shorter, named = min(grid.height, grid.width), dict[TokenGrid, Side]()
    for side in sides:
        if not isinstance(side, str) and side > shorter:
            raise UserError(f"must be in [1, {shorter}], but got {side}", field=field, nearest=shorter)
        try:
            found = grid.pooled(side)
        except UserError as error:
            raise error.under(field) from None
        if found in named:
            raise UserError(f"must not name {found} tokens twice, but got {named[found]!r} and {side!r}", field=field)
        named[found] = side


def _check_widths(space: SearchSpace, *, field: str) -> None:
    """Check that the model's blocks can be computed in part where a segment says so, and that its choices differ."""
    shape = space.target.shape
    for index, segment in enumerate(space.segments):
        for part in (one for one in segment.parts if one.kind is Width):
            for key in part.fields:
                path, amount = f"{field}[{index}].width.{key}", key.rsplit("_", 1)[1]
                chosen = [one for one in part.values_of(key) if one is not None]
                check_width([((amount, one),) for one in chosen if one != EIGHTHS], shape, field=path)
                heads = [num_heads(((HEADS, one),), shape) for one in chosen]
                if amount == HEADS and len(set(heads)) < len(heads):
                    raise UserError(
                        f"must differ in whole heads, of which this model has {shape.num_heads}, but {chosen} eighths "
                        f"are {heads}",
                        field=path,
                    )


def _check_layouts(space: SearchSpace, *, field: str) -> None:
    """Builds every combination of segments (they alone can fail), so that no suggested candidate is ever invalid."""
    num = math.prod(len(corners(domain)) for segment in space.segments for _, domain in segment.own_domains)
    if num > MOST_CHECKED:
        raise UserError(f"at most {MOST_CHECKED} combinations of depths can be checked, but got {num}", field=field)
    try:
        roles = {role: None for layout in space.layouts() for segment in layout for role in segment.roles}
    except UserError as error:
        raise error.under(field) from None
    check_roles(roles, space.target.shape, field=field)
