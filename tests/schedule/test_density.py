"""Schedules: what they mean, what they refuse, and what identifies them."""

import json
import math
import pickle

import pytest

from flexsearch.errors import UserError
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.plan import stage_graphs
from flexsearch.schedule.presets import PRESETS, paper_schedule
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.timetable import LinearTimetable, Timetable, equal_edges

GRID = TokenGrid(height=16, width=16)


def schedule(**changes: object) -> DensitySchedule:
    values = {
        "segments": (Pooling(depth=1), Sdtm(sparse=2), Sdtm(sparse=2), Dense(depth=1)),
        "timetable": Timetable(edges=equal_edges(4), grids=(10, 8, 7, 6)),
    }
    return DensitySchedule(**{**values, **changes})


def test_roles_follow_the_paper() -> None:
    assert str(schedule()) == "PMssRDMssRDD @10,8,7,6"
    assert schedule().num_blocks == 12


@pytest.mark.parametrize("one", [schedule(), DensitySchedule.all_dense(3), *(p.schedule for p in PRESETS.values())])
def test_json_round_trip_keeps_the_digest(one: DensitySchedule) -> None:
    again = DensitySchedule.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert again.digest == one.digest


def test_spellings_of_one_schedule_share_a_digest() -> None:
    split = schedule(segments=(Pooling(depth=1), Sdtm(sparse=2), Sdtm(sparse=2, dense=0), Dense(depth=2)))
    assert split.digest == schedule().digest
    assert schedule(segments=(Dense(depth=4), Dense(depth=8))).digest == DensitySchedule.all_dense(12).digest
    assert (
        schedule(timetable=Timetable(edges=(0, 0.5, 1), grids=(8, 8))).digest
        == schedule(timetable=Timetable(grids=(8,))).digest
    )


def test_what_changes_the_outcome_changes_the_digest() -> None:
    variants = [
        schedule(),
        schedule(segments=(Pooling(depth=2), Sdtm(sparse=2), Sdtm(sparse=1), Dense(depth=1))),
        schedule(timetable=Timetable(grids=(10,))),
        schedule(timetable=Timetable(edges=(0, 0.3, 0.5, 0.75, 1), grids=(10, 8, 7, 6))),
        DensitySchedule.all_dense(12),
    ]
    assert len({one.digest for one in variants}) == len(variants)
    steps = {Candidate(schedule=schedule(), sampling=Sampling(steps=steps)).digest for steps in (5, 10)}
    assert len(steps) == 2


def test_a_schedule_without_sparse_tokens_forgets_its_grids() -> None:
    pooled = schedule(segments=(Pooling(depth=2), Dense(depth=10)))
    assert pooled.timetable == Timetable()
    assert not pooled.has_sparse_tokens


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"segments": []}, "segments"),
        ({"segments": [{"family": "sparse"}]}, "segments[0].family"),
        ({"segments": [{"family": "dense", "depth": -1}]}, "segments[0].depth"),
        ({"segments": [{"family": "dense", "dpeth": 1}]}, "segments[0]"),
        ({"segments": [{"family": "sdtm", "sparse": 1, "merge": 0}]}, "segments[0].merge"),
        (
            {"segments": [{"family": "dense", "depth": 1}], "timetable": {"edges": [0, 1], "grids": []}},
            "timetable.edges",
        ),
        (
            {"segments": [{"family": "dense", "depth": 1}], "timetable": {"edges": [0, 2], "grids": [1]}},
            "timetable.edges",
        ),
        (
            {"segments": [{"family": "dense", "depth": 1}], "timetable": {"edges": [0, "x", 1], "grids": [1, 2]}},
            "timetable.edges",
        ),
        (
            {"segments": [{"family": "dense", "depth": 1}], "timetable": {"edges": [0, math.nan, 1], "grids": [1, 2]}},
            "timetable.edges",
        ),
        (
            {"segments": [{"family": "dense", "depth": 1}], "timetable": {"edges": [0, 1], "grids": [0]}},
            "timetable.grids",
        ),
    ],
)
def test_wrong_values_are_refused_by_field(values: dict, field: str) -> None:
    with pytest.raises(UserError) as caught:
        DensitySchedule.from_dict(values)
    assert caught.value.field == field


@pytest.mark.parametrize("steps", [0, -1, 1.5, "2", None, True])
def test_sampler_steps_are_whole_numbers(steps: object) -> None:
    with pytest.raises(UserError, match=r"must be (at least 1|a whole number), but got ") as caught:
        Candidate.from_dict({**schedule().to_dict(), "sampler_steps": steps})
    assert caught.value.field == "sampler_steps"


def test_time_is_diffusion_time() -> None:
    timetable = schedule().timetable
    assert [timetable.stage_of(time) for time in (0.0, 0.2499, 0.25, 0.5, 0.75, 0.999, 1.0)] == [0, 0, 1, 2, 3, 3, 3]


def test_linear_timetable_gives_the_papers_quarters() -> None:
    assert LinearTimetable(stages=4, clean_grid=10, noise_grid=6).build().grids == (10, 8, 7, 6)
    assert LinearTimetable(stages=4, clean_grid=20, noise_grid=12).build().grids == (20, 17, 15, 12)
    assert LinearTimetable(stages=1, clean_grid=5, noise_grid=2).build().grids == (5,)


@pytest.mark.parametrize(
    ("height", "width", "side", "expected"),
    [(16, 16, 6, (6, 6)), (8, 12, 4, (4, 6)), (12, 8, 3, (4, 3)), (8, 8, 8, (8, 8))],
)
def test_sparse_grids_keep_the_aspect_ratio(height: int, width: int, side: int, expected: tuple[int, int]) -> None:
    sparse = TokenGrid(height=height, width=width).pooled(side)
    assert (sparse.height, sparse.width) == expected


def test_a_sparse_grid_larger_than_the_dense_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"timetable\.grids\[0\].*in \[1, 8\], but got 10; nearest legal: 8"):
        schedule().routes(TokenGrid(height=8, width=8))


def test_lowering_gives_each_block_its_tokens() -> None:
    routes = schedule().routes(GRID)
    assert len(routes) == 4
    roles = {operation.role: (str(operation.queries), str(operation.keys)) for operation in routes[1]}
    assert roles == {
        "pool": ("16x16", "16x16"),
        "merge": ("8x8", "16x16"),
        "sparse": ("8x8", "8x8"),
        "recover": ("16x16", "8x8"),
        "dense": ("16x16", "16x16"),
    }
    assert [operation.block for operation in routes[0] if operation.role == "recover"] == [4, 9]


def test_depths_must_add_up() -> None:
    with pytest.raises(UserError, match="must add up to 28 blocks, but got 12"):
        schedule().routes(GRID, num_blocks=28)


@pytest.mark.parametrize("num_blocks", range(5, 41))
@pytest.mark.parametrize("side", [4, 8, 16, 32])
def test_the_paper_scales_to_any_model(num_blocks: int, side: int) -> None:
    grid = TokenGrid(height=side, width=side)
    paper = paper_schedule(num_blocks=num_blocks, grid=grid)
    assert paper.routes(grid, num_blocks=num_blocks)
    assert {"recover", "pool"} <= set(paper.roles)


def test_the_scaled_paper_is_exact_where_the_paper_states_it() -> None:
    for name, num_blocks, side in (
        ("flexdit_xl_256_r61_86", 28, 16),
        ("flexdit_xl_512_r61_86", 28, 32),
        ("flexdit_b_256_r61_86", 12, 16),
    ):
        scaled = paper_schedule(num_blocks=num_blocks, grid=TokenGrid(height=side, width=side))
        assert scaled.digest == PRESETS[name].schedule.digest


def test_a_pickle_carries_no_hash() -> None:
    """Hashes of strings differ from process to process: a set in another one would not find what it holds."""
    schedule = DensitySchedule.all_dense(6)
    graphs = stage_graphs(schedule, TokenGrid(height=8, width=8))
    for value in (schedule, graphs[0], graphs[0].route, graphs[0].route[0]):
        hash(value)
        again = pickle.loads(pickle.dumps(value))
        assert again == value
        assert "_hash" in vars(value)
        assert "_hash" not in vars(again)
        assert hash(again) == hash(value)
