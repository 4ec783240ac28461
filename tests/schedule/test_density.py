"""Schedules: what they mean, what they refuse, and what identifies them."""

import json
import math
import pickle
from dataclasses import replace

import pytest

from flexsearch.errors import UserError
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.plan import Target, lower, stage_graphs
from flexsearch.schedule.presets import PRESETS, dit_shape, dydit_schedules, paper_schedule
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.timetable import LinearTimetable, Timetable, equal_edges
from flexsearch.schedule.width import Width

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


WIDTH = Width(clean_heads=6, noise_heads=4, clean_hidden=6, noise_hidden=3)


def narrow(width: Width, *, stages: int = 1) -> DensitySchedule:
    timetable = Timetable(edges=equal_edges(stages), grids=(1,) * stages)
    return DensitySchedule(segments=(Dense(depth=2), Dense(depth=3, width=width), Dense(depth=1)), timetable=timetable)


def test_widths_change_linearly_from_data_to_noise_and_identify_a_schedule() -> None:
    one = narrow(WIDTH, stages=4)
    assert [dict(stage[2]) for stage in one.amounts] == [
        {"heads": heads, "hidden": hidden} for heads, hidden in ((6, 6), (5, 5), (4, 4), (4, 3))
    ]
    assert str(one) == "DDDDDD heads 6,5,4,4/8 hidden 6,5,4,3/8 in 2-4"
    assert DensitySchedule.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert pickle.loads(pickle.dumps(one)).amounts == one.amounts
    assert not one.is_dense
    assert len({narrow(WIDTH, stages=stages).digest for stages in (1, 2, 4)}) == 3
    constant = narrow(Width(clean_heads=6), stages=4)
    assert constant.timetable == Timetable()
    assert constant.digest == narrow(Width(clean_heads=6, noise_heads=6)).digest != narrow(Width(clean_heads=5)).digest


def test_full_widths_are_the_dense_base() -> None:
    full = narrow(Width(clean_heads=8, noise_hidden=8), stages=2)
    assert full.digest == DensitySchedule.all_dense(6).digest
    assert full.is_dense
    assert str(full) == "DDDDDD"
    assert "width" not in DensitySchedule.all_dense(6).to_dict()["segments"][0]


def test_stages_that_do_the_same_share_a_digest() -> None:
    two = narrow(Width(clean_hidden=8, noise_hidden=7), stages=2)
    assert [dict(stage[2]).get("hidden", 8) for stage in two.amounts] == [8, 7]
    for edges, is_same in (((0.0, 0.5, 0.75, 1.0), True), ((0.0, 0.25, 0.5, 1.0), False)):
        three = DensitySchedule(segments=two.segments, timetable=Timetable(edges=edges, grids=(1, 1, 1)))
        assert [dict(stage[2]).get("hidden", 8) for stage in three.amounts] == [8, 7, 7]
        assert (three.digest == two.digest) == is_same


def test_a_width_that_cannot_be_is_named() -> None:
    with pytest.raises(UserError, match=r"segments\[0\].width.clean_heads: must be at most 8, but got 9"):
        DensitySchedule.from_dict({"segments": [{"family": "dense", "depth": 1, "width": {"clean_heads": 9}}]})
    shape = dit_shape(num_blocks=6, width=64, side=8)
    with pytest.raises(UserError, match="computed whole"):
        lower(Candidate(schedule=narrow(WIDTH), sampling=Sampling(steps=1)), Target(shape=replace(shape, num_heads=0)))


def test_dydits_budgets_have_its_macs() -> None:
    """Within 3 % of what the paper states for a DiT-XL/2 at 256 tokens."""
    shape = dit_shape(num_blocks=28, width=1152, side=16)
    macs = [
        lower(Candidate(schedule=one, sampling=Sampling(steps=1)), Target(shape=shape)).macs / 1e9
        for one in dydit_schedules(28).values()
    ]
    assert macs == pytest.approx([84.33, 57.88], rel=0.03)


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
