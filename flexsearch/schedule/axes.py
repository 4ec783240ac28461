"""The axes that a candidate uses: what it does otherwise than the dense base as it comes.

Nothing here knows an axis by name. Those of sampling are what `Sampling.spelled` says, those of a schedule the families
that play a role, their fields beside numbers of blocks, and what a timetable declares: a new one is found by itself.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families import Segment
from flexsearch.schedule.families.dense import DENSE
from flexsearch.schedule.fields import REQUIRED, declared, is_part
from flexsearch.schedule.sampling import Sampling

DENSITY, STAGES = "density", "stages"
"""Any schedule but the dense base's, and what changes over diffusion time."""
_IN_STAGES = ("edges", "grids")
_STEPS = {one.key for one in declared(Sampling) if one.default is REQUIRED}


def used_axes(candidate: Candidate, *, steps: int) -> tuple[str, ...]:
    """Name the axes that a candidate uses, the schedule's first; what changes nothing is not used.

    Args:
        candidate: any.
        steps: sampler steps of the dense base, beside which others are an axis.
    """
    sampling = candidate.sampling.spelled(num_blocks=candidate.schedule.num_blocks)
    return (
        *_of_schedule(candidate.schedule),
        *(key for key in sampling if key not in _STEPS or candidate.sampling.steps != steps),
    )


@lru_cache(maxsize=1 << 12)  # many candidates share a schedule
def _of_schedule(schedule: DensitySchedule) -> tuple[str, ...]:
    if schedule.is_dense:
        return ()
    timetable = schedule.timetable
    further = (one for one in declared(type(timetable)) if one.name not in _IN_STAGES)
    over_time = (one.key for one in further if getattr(timetable, one.name) != one.default)
    stages = [STAGES] if timetable.num_stages > 1 else []
    return tuple(dict.fromkeys([DENSITY, *_of_segments(schedule), *stages, *over_time]))


def _of_segments(schedule: DensitySchedule) -> Iterator[str]:
    roles = iter(schedule.roles)
    for index, segment in enumerate(schedule.segments):
        if {next(roles) for _ in segment.roles} != {DENSE.name}:
            yield segment.family
        for name, plain in _fields_left_out(segment):
            segments = (*schedule.segments[:index], plain, *schedule.segments[index + 1 :])
            if replace(schedule, segments=segments).digest != schedule.digest:
                yield name


def _fields_left_out(segment: Segment) -> Iterator[tuple[str, Segment]]:
    """Name each field that is not at its default, and give the segment with the default; numbers of blocks are the
    family's own. Mappings that families share have one name, other fields theirs in YAML."""
    for one in declared(type(segment)):
        is_number = isinstance(one.default, int) and not isinstance(one.default, bool)
        if one.default is REQUIRED or is_number or getattr(segment, one.name) == one.default:
            continue
        name = one.key if is_part(one.annotation) else f"{segment.family}.{one.key}"
        yield name, replace(segment, **{one.name: one.default})
