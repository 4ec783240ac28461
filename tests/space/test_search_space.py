"""Search spaces: every choice is a valid schedule, and what cannot be is refused with the field's path."""

import random
from typing import Any

import pytest
from flexsearch.schedule.shape import TokenGrid

from flexsearch.errors import UserError
from flexsearch.schedule.presets import paper_schedule
from flexsearch.space.search_space import SearchSpace, parse_space

GRID = TokenGrid(height=8, width=8)
SEGMENTS: list[dict[str, Any]] = [
    {"family": "pooling", "depth": {"int": [1, 4]}},
    {"family": "sdtm", "repeat": {"int": [1, 2]}, "sparse": "rest", "dense": {"choice": [0, 1]}},
    {"family": "dense", "depth": {"int": [1, 2]}},
]
ENTRIES: dict[str, Any] = {
    "segments": SEGMENTS,
    "timetable": {"stages": 2, "clean_grid": {"choice": [3, 4, 5]}, "noise_grid": {"choice": [2, 3, 4]}},
    "sampler_steps": {"choice": [4, 7, 10]},
}


def parsed(**changes: Any) -> SearchSpace:
    return parse_space({**ENTRIES, **changes}, num_blocks=12, grid=GRID)


def test_every_choice_lowers_to_a_valid_plan() -> None:
    space = parsed()
    choices = list(space.choices())
    assert len(choices) == space.size == 4 * 2 * 2 * 2 * 3 * 3 * 3
    for choice in choices:
        candidate = space.build(choice)
        plan = space.plan(candidate.schedule)
        assert all(len(stage) == 12 for stage in plan.stages)
        assert candidate.sampling.steps == choice["sampler_steps"]


def test_draws_lie_in_the_space_and_are_reproducible() -> None:
    space = parsed()
    drawn = [space.sample(random.Random(seed)) for seed in range(300)]
    assert drawn == [space.sample(random.Random(seed)) for seed in range(300)]
    assert all(set(one) == set(space.domains) for one in drawn)
    for name, domain in space.domains.items():
        assert {one[name] for one in drawn} == set(domain.values or ())


def test_two_choices_may_be_one_schedule() -> None:
    space = parsed(timetable={"stages": 1, "clean_grid": 4, "noise_grid": {"choice": [2, 3]}})
    by_noise_grid = [
        {space.build(choice).digest for choice in space.choices() if choice["timetable.noise_grid"] == side}
        for side in (2, 3)
    ]
    assert by_noise_grid[0] == by_noise_grid[1]


def test_rest_is_spread_evenly_over_modules() -> None:
    space = parsed()
    segments = space.build(
        {
            "pooling.depth": 1,
            "sdtm.repeat": 2,
            "sdtm.dense": 0,
            "dense.depth": 2,
            "timetable.clean_grid": 4,
            "timetable.noise_grid": 2,
            "sampler_steps": 4,
        }
    ).schedule.segments
    assert [vars(segment).get("sparse") for segment in segments] == [None, 3, 2, None]


def test_time_edges_suit_every_schedule_and_the_paper() -> None:
    space = parsed(timetable={"stages": {"choice": [1, 3]}, "clean_grid": 4})
    edges = set(space.time_edges)
    assert set(paper_schedule(num_blocks=12, grid=GRID).timetable.edges) <= edges
    for choice in space.choices():
        assert set(space.build(choice).schedule.timetable.edges) <= edges


def test_recover_blocks_cover_the_space() -> None:
    space = parsed()
    found = {
        block for choice in space.choices() for block in space.plan(space.build(choice).schedule).blocks("recover")
    }
    assert set(space.recover_blocks()) == found


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"segments": []}, r"space\.segments: must be a list"),
        ({"segments": SEGMENTS, "sampler_steps": 4}, r"space\.timetable\.clean_grid: is missing"),
        ({**ENTRIES, "sampler_stpes": 4}, r"space\.sampler_stpes: unknown field"),
        ({**ENTRIES, "sampler_steps": 0}, r"space\.sampler_steps: must be at least 1, but got 0; nearest legal: 1"),
        ({**ENTRIES, "sampler_steps": "rest"}, r"space\.sampler_steps: must be a whole number"),
        ({**ENTRIES, "timetable": {"clean_grid": 9}}, r"space\.timetable\.clean_grid: must be in \[1, 8\], but got 9"),
        ({**ENTRIES, "timetable": {"clean_gird": 4}}, r"space\.timetable\.clean_gird: unknown field"),
        ({"segments": [{"family": "dens", "depth": 12}]}, r"space\.segments\[0\]\.family: must be one of"),
        ({"segments": [{"family": "dense", "depth": {"int": [3, 1]}}]}, r"low <= high must hold, but got \[3, 1\]"),
        ({"segments": [{"family": "dense", "depth": {"int": [1, 2.5]}}]}, r"must be \[low, high\]"),
        ({"segments": [{"family": "dense", "depth": {"float": [1, 2]}}]}, r"must be whole numbers"),
        ({"segments": [{"family": "dense", "depth": {"choice": []}}]}, r"at least one value"),
        ({"segments": [{"family": "dense", "depth": {"choice": [12, 12]}}]}, r"must not repeat"),
        ({"segments": [{"family": "dense", "depth": {"range": [1, 2]}}]}, r"exactly one key"),
        ({"segments": [{"family": "dense", "depth": 11}]}, r"must add up to exactly 12 blocks, but got 11"),
        (
            {"segments": [{"family": "dense", "depth": {"int": [12, 13]}}]},
            r"must add up to exactly 12 blocks, but got 13",
        ),
        (
            {"segments": [{"family": "pooling", "depth": "rest"}, {"family": "dense", "depth": "rest"}]},
            r"at most one depth may be rest",
        ),
        ({"segments": [{"family": "sdtm", "merge": "rest", "sparse": 1}]}, r"only depth or sparse may be rest"),
        ({"segments": [{"family": "dense", "depth": True}]}, r"must be a whole number, but got True"),
    ],
)
def test_what_cannot_be_built_is_refused(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_space(entries, num_blocks=12, grid=GRID)


VIDEO = TokenGrid(frames=16, height=8, width=8)


def test_frames_are_searched_where_there_are_frames() -> None:
    entries = {**ENTRIES, "timetable": {**ENTRIES["timetable"], "frames": {"choice": [16, 8, 4]}}}
    space = parse_space(entries, num_blocks=12, grid=VIDEO)
    for choice in space.choices():
        schedule = space.build(choice).schedule
        frames = choice["timetable.frames"]
        assert schedule.timetable.frames == (None if frames == 16 else frames)
        merged = next(one for one in space.plan(schedule).stages[0] if one.kind == "merge")
        assert (merged.queries.frames, merged.keys.frames) == (frames, 16)


@pytest.mark.parametrize(
    ("grid", "frames", "message"),
    [
        (VIDEO, {"choice": [16, 5]}, r"timetable\.frames: frames must divide 16, but got 5; nearest legal: 4"),
        (VIDEO, 32, r"timetable\.frames: must be in \[1, 16\], but got 32; nearest legal: 16"),
        (GRID, 2, r"timetable\.frames: must be in \[1, 1\], but got 2; nearest legal: 1"),
    ],
)
def test_frames_must_divide_the_videos(grid: TokenGrid, frames: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_space({**ENTRIES, "timetable": {"clean_grid": 4, "frames": frames}}, num_blocks=12, grid=grid)
