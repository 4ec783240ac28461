"""Read the `space` part of a configuration: YAML in, a space of valid candidates out."""

import difflib
import math
from collections.abc import Mapping
from typing import Any

from flexsearch.errors import UserError
from flexsearch.schedule.fields import declared
from flexsearch.schedule.plan import Target
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.timetable import LinearTimetable
from flexsearch.space.domains import corners
from flexsearch.space.layout import parse_segments
from flexsearch.space.sampling_checks import MOST_CHECKED, check_sampling
from flexsearch.space.search_space import Layout, SearchSpace
from flexsearch.space.searched import Searched, parse_searched

_PARTS = ("segments", "timetable")
_LAYOUT = ("dense",)
_DEFAULT_STEPS = 50


def parse_space(entries: Any, *, target: Target, field: str = "space") -> SearchSpace:
    """Read the `space` part of a configuration and check every combination once.

    Args:
        entries: as YAML gives them.
        target: the model that candidates are for.
        field: path of the part, for errors.

    Raises:
        UserError: names the field, the rule, the value and the nearest legal one.
    """
    if not isinstance(entries, Mapping):
        raise UserError(f"must be a mapping, but got {entries!r}", field=field)
    known = (*_PARTS, *_LAYOUT, *(one.key for one in declared(Sampling)))
    for key in entries:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            raise UserError("is not a known field", field=f"{field}.{key}", nearest=close[0] if close else None)
    segments = parse_segments(entries.get("segments"), field=f"{field}.segments")
    timetable = _parse_timetable(entries.get("timetable"), grid=target.shape.grid, field=f"{field}.timetable")
    if timetable is None and any(segment.kind.needs_grid for segment in segments):
        raise UserError("is missing: these segments need sparse grids", field=f"{field}.timetable.clean_grid")
    layout = parse_searched(Layout, {key: entries[key] for key in _LAYOUT if key in entries}, name="", field=field)
    chosen = {key: value for key, value in entries.items() if key not in (*_PARTS, *_LAYOUT)}
    sampling = parse_searched(Sampling, {"sampler_steps": _DEFAULT_STEPS, **chosen}, name="", field=field)
    space = SearchSpace(target=target, segments=segments, timetable=timetable, sampling=sampling, layout=layout)
    _check_layouts(space, field=f"{field}.segments")
    check_sampling(space, field=field)
    return space


def _parse_timetable(entries: Any, *, grid: TokenGrid, field: str) -> Searched | None:
    if entries is None:
        return None
    if not isinstance(entries, Mapping):
        raise UserError(f"must be a mapping, but got {entries!r}", field=field)
    found = parse_searched(LinearTimetable, entries, name="timetable", field=field)
    shorter = min(grid.height, grid.width)
    for key, most in (("clean_grid", shorter), ("noise_grid", shorter), ("frames", grid.frames)):
        for number in found.values_of(key):
            if number > most:
                raise UserError(f"must be in [1, {most}], but got {number}", field=f"{field}.{key}", nearest=most)
    for number in found.values_of("frames"):
        try:
            grid.pooled(1, frames=number)
        except UserError as error:
            raise error.under(f"{field}.frames") from None
    return found


def _check_layouts(space: SearchSpace, *, field: str) -> None:
    """Builds every combination of segments (they alone can fail), so that no suggested candidate is ever invalid."""
    fields = {name: corners(domain) for segment in space.segments for name, domain in segment.domains}
    num = math.prod(len(values) for values in fields.values())
    if num > MOST_CHECKED:
        raise UserError(f"at most {MOST_CHECKED} combinations of depths can be checked, but got {num}", field=field)
    try:
        for _ in space.layouts():
            pass
    except UserError as error:
        raise error.under(field) from None
