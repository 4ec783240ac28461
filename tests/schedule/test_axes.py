"""The axes that a candidate uses: none of the dense base, every one that changes it, none that does not."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest

from flexsearch.schedule import Cache, Candidate, Dense, DensitySchedule, Pooling, Sampling, Sdtm, Segment, Timetable
from flexsearch.schedule.axes import used_axes
from flexsearch.schedule.families.keep import Keep
from flexsearch.schedule.fields import declared
from flexsearch.schedule.gain import Gain
from flexsearch.schedule.guidance import GuidanceRows
from flexsearch.schedule.timetable import OwnGrid, equal_edges
from flexsearch.schedule.width import Kept, Width

SAMPLING: dict[str, Any] = {
    "solver": "ab2",
    "shift": 1.5,
    "start": "mean",
    "cache": Cache(full=0.5),
    "guidance": GuidanceRows(start=0.2),
    "gain": Gain(stream=0.9, at=4),
}
"""A value of every axis of sampling beside steps that is not the default."""


def used(*segments: Segment, grids: tuple[int, ...] = (3,), steps: int = 10, **sampling: Any) -> set[str]:
    timetable = Timetable(edges=equal_edges(len(grids)), grids=grids)
    schedule = DensitySchedule(segments=segments or (Dense(depth=8),), timetable=timetable)
    return set(used_axes(Candidate(schedule=schedule, sampling=Sampling(steps=steps, **sampling)), steps=10))


def test_every_axis_of_sampling_is_found_alone_and_together() -> None:
    keys = {one.key for one in declared(Sampling)}
    assert keys == {*SAMPLING, "sampler_steps"}, "an axis without a value here"
    for key, value in SAMPLING.items():
        assert used(**{key: value}) == {key}
    assert used() == set()
    assert used(steps=5) == {"sampler_steps"}
    assert used(**SAMPLING, steps=5) == keys


@pytest.mark.parametrize("cache", [Cache(full=1.0, warmup=2), Cache(pattern="F" * 10), Cache(full=0.5, first=8)])
def test_reuse_that_reuses_nothing_is_none(cache: Cache) -> None:
    assert used(cache=cache) == set()


def test_density_is_families_fields_and_stages() -> None:
    sdtm = Sdtm(sparse=4, dense=0)
    assert used(sdtm, Dense(depth=2)) == {"density", "sdtm"}
    assert used(sdtm, Dense(depth=2), grids=(3, 2)) == {"density", "sdtm", "stages"}
    assert used(sdtm, Dense(depth=2), grids=(3, 3)) == {"density", "sdtm"}
    assert used(Pooling(depth=2), sdtm) == {"density", "pooling", "sdtm"}
    assert used(Sdtm(merge=2, sparse=4, dense=1)) == {"density", "sdtm"}, "numbers of blocks are the family's"
    learned = Sdtm(sparse=4, resample="learned", width=Width(clean_heads=4))
    assert used(learned, Dense(depth=2)) == {"density", "sdtm", "sdtm.resample", "width"}
    own = Sdtm(sparse=1, dense=0, grid=OwnGrid(clean=2))
    assert used(own, Sdtm(sparse=1, dense=0)) == {"density", "sdtm", "grid"}
    assert used(own, Dense(depth=5)) == {"density", "sdtm"}, "the only module's own grid is the timetable's"


def test_parts_of_blocks_are_their_own_axes_and_the_whole_is_none() -> None:
    narrow = Width(clean_hidden=8, noise_hidden=4)
    assert used(Dense(depth=8, width=narrow), grids=(1, 1)) == {"density", "width", "stages"}
    assert used(Dense(depth=8, width=narrow)) == set(), "one stage is data's"
    assert used(Dense(depth=8, width=Width(noise_heads=8))) == set()
    assert used(Keep(depth=8, tokens=Kept(clean=4))) == {"density", "keep", "tokens"}
    assert used(Keep(depth=8, tokens=Kept(clean=4), scope="block")) == {"density", "keep", "keep.scope", "tokens"}
    assert used(Keep(depth=8, scope="block")) == set()


@dataclass(frozen=True, kw_only=True)
class Striped(Segment):
    """Somebody's own family."""

    family: ClassVar[str] = "striped"
    depth: int
    at: Literal["odd", "even"] = "odd"

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple("pool" if block % 2 == (self.at == "odd") else "dense" for block in range(self.depth))


def test_a_new_family_and_its_fields_are_found_by_themselves() -> None:
    assert used(Striped(depth=8)) == {"density", "striped"}
    assert used(Striped(depth=8, at="even")) == {"density", "striped", "striped.at"}
    assert used(Striped(depth=1)) == set(), "all of its blocks are dense"
