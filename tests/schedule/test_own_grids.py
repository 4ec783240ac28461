"""Sparse grids of modules' own: what they mean, how they are said, and what else reads them."""

import json
from typing import Any

import pytest

from flexsearch.errors import UserError
from flexsearch.latency.axes import Axes
from flexsearch.latency.cache import sparse_timetables
from flexsearch.latency.design import designed_plans
from flexsearch.report.schedule_picture import run_figure
from flexsearch.report.trial_page import draw_schedule
from flexsearch.schedule import Candidate, Dense, DensitySchedule, Pooling, Sampling, Sdtm, Target, TokenGrid, lower
from flexsearch.schedule.presets import dit_shape
from flexsearch.schedule.timetable import OwnGrid, Timetable, equal_edges
from flexsearch.space.parsing import parse_space
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.quality_model import features

GRID = TokenGrid(height=8, width=8)
SHAPE = dit_shape(num_blocks=8, width=64, side=8)
TARGET = Target(shape=SHAPE)


def schedule(*owns: OwnGrid, grids: tuple[int | str, ...] = (4, 2), frames: int | None = None) -> DensitySchedule:
    modules = [Sdtm(sparse=1, dense=0, grid=own) for own in owns]
    timetable = Timetable(edges=equal_edges(len(grids)), grids=grids, frames=frames)
    return DensitySchedule(segments=(Pooling(depth=1), *modules, Dense(depth=1)), timetable=timetable)


def grids_of(one: DensitySchedule, grid: TokenGrid = GRID) -> list[list[str]]:
    """Per stage, the grids of the tokens that leave the sparse blocks."""
    return [[str(operation.queries) for operation in route if operation.queries != grid] for route in one.routes(grid)]


def test_each_module_goes_over_the_stages_from_its_clean_to_its_noise_grid() -> None:
    one = schedule(OwnGrid(clean=7, noise=3), OwnGrid(clean="5x3", noise="2x4"), OwnGrid(), grids=(4, 4, 3, 3))
    assert grids_of(one) == [
        ["7x7", "7x7", "5x3", "5x3", "4x4", "4x4"],
        ["6x6", "6x6", "4x3", "4x3", "4x4", "4x4"],
        ["4x4", "4x4", "3x3", "3x3", "3x3", "3x3"],
        ["3x3", "3x3", "2x4", "2x4", "3x3", "3x3"],
    ]
    assert str(one) == "PMsRMsRMsRD @7/5x3/4,6/4x3/4,4/3x3/3,3/2x4/3"
    recovers = [operation for operation in one.routes(GRID)[0] if operation.queries != operation.keys]
    assert [str(operation.keys) for operation in recovers if operation.queries == GRID] == ["7x7", "5x3", "4x4"]
    again = DensitySchedule.from_dict(json.loads(json.dumps(one.to_dict())))
    assert (again, again.digest) == (one, one.digest)
    with pytest.raises(UserError, match=r"^segments\[1\].grid.clean: grid must be in \[1, 6\], but got 7"):
        one.routes(TokenGrid(height=6, width=8))
    with pytest.raises(UserError, match=r"^segments\[2\].grid.clean: grid must be at most 8x2, but got 5x3.*5x2"):
        schedule(OwnGrid(), OwnGrid(clean="5x3"), grids=(2,)).routes(TokenGrid(height=8, width=2))


def test_a_number_keeps_the_aspect_of_a_grid_that_is_not_square_and_a_name_need_not() -> None:
    grid = TokenGrid(frames=4, height=8, width=12)
    one = schedule(OwnGrid(clean=4), OwnGrid(clean="3x5"), frames=2)
    assert grids_of(one, grid) == [["2x4x6", "2x4x6", "2x3x5", "2x3x5"]]
    assert str(one) == "PMsRMsRD @4/3x5 2f"
    for name in (4, "3x5"):
        assert grid.side_of(grid.pooled(name)) == name


def test_spellings_of_the_same_grids_are_equal() -> None:
    shared = schedule(OwnGrid(), OwnGrid(), grids=(5, 3))
    for same in (
        schedule(OwnGrid(clean=5, noise=3), OwnGrid(clean=5, noise=3), grids=(1, 1)),
        schedule(OwnGrid(clean=5, noise=3), OwnGrid(), grids=(5, 3)),
    ):
        assert (same, same.digest, str(same)) == (shared, shared.digest, "PMsRMsRD @5,3")
    assert "grid" not in shared.to_dict()["segments"][1]
    two = schedule(OwnGrid(clean=5), OwnGrid(clean=3), grids=(1, 1))
    assert two.timetable == Timetable()
    others = (
        schedule(OwnGrid(clean=5), OwnGrid(), grids=(3, 3)),
        schedule(OwnGrid(), OwnGrid(clean=3, noise=3), grids=(5,)),
    )
    assert {one.digest for one in others} == {two.digest}
    assert {str(one) for one in others} == {str(two)} == {"PMsRMsRD @5/3"}
    different = [
        two,
        shared,
        schedule(OwnGrid(clean=3), OwnGrid(clean=5)),
        schedule(OwnGrid(clean=5), OwnGrid(clean="3x4")),
        schedule(OwnGrid(clean=5), OwnGrid(clean=3), frames=2),
        schedule(OwnGrid(clean=5, noise=3), OwnGrid(clean=3)),
        schedule(OwnGrid(clean=5, noise=3), OwnGrid(clean=3), grids=(1, 1, 1)),
    ]
    assert len({one.digest for one in different}) == len(different)


@pytest.mark.parametrize(
    ("grid", "error"),
    [
        ({"noise": 3}, "grid.clean: is missing beside noise 3"),
        ({"clean": 0}, "grid.clean: must be at least 1, but got 0"),
        ({"clean": "3x0"}, "grid.clean: must be height x width, as \"3x5\", but got '3x0'"),
        ({"clean": [3, 5]}, r'grid.clean: must be a whole number or height x width, as "3x5", but got \[3, 5\]'),
        ({"clean": "3x5", "noise": 2}, r"grid.noise: must be named as clean is \('3x5'\), but got 2"),
    ],
)
def test_grids_that_cannot_be_are_named(grid: dict[str, Any], error: str) -> None:
    with pytest.raises(UserError, match=rf"^segments\[0\].{error}"):
        DensitySchedule.from_dict({"segments": [{"family": "sdtm", "sparse": 1, "grid": grid}]})


def space(*grids: dict[str, Any] | None, **entries: Any) -> SearchSpace:
    modules = [{"family": "sdtm", "sparse": 1, **({} if grid is None else {"grid": grid})} for grid in grids]
    segments = [*modules, {"family": "dense", "depth": "rest"}]
    return parse_space({"segments": segments, "sampler_steps": 2, **entries}, target=TARGET)


def test_a_space_searches_them_and_needs_no_other_grid() -> None:
    """Roles do not depend on them; a profile times each once."""
    found = space({"clean": {"int": [4, 6]}, "noise": {"choice": [None, 2]}}, {"clean": "3x5"})
    assert list(found.domains) == ["sdtm.grid.clean", "sdtm.grid.noise"]
    candidates = found.candidates(up_to=100)
    assert len({one.digest for one in candidates}) == 3, "of one stage, so that noise is idle"
    assert len(list(found.layouts())) == 1
    staged = space({"clean": {"int": [4, 6]}, "noise": 2}, None, timetable={"stages": 2, "clean_grid": 3})
    assert staged.sparse_grids() == {(side, None) for side in (2, 3, 4, 5, 6)}
    plans = [plan for one in staged.candidates(up_to=100) for plan in [staged.plan(one)]]
    timed = designed_plans(
        TARGET, families=[Sdtm, Dense], timetables=sparse_timetables(staged), operations=[], axes=Axes()
    )
    held = {operation.key for plan in timed for graph in plan.graphs for operation in graph.route}
    assert {operation.key for plan in plans for graph in plan.graphs for operation in graph.route} <= held
    alone = sparse_timetables(found, [schedule(OwnGrid(clean=7), OwnGrid(clean=2))])
    assert [one.grids for one in alone] == [(2,), ("3x5",), (4,), (5,), (6,), (7,)]


@pytest.mark.parametrize(
    ("grids", "error"),
    [
        ([None, {"clean": 3}], "space.timetable.clean_grid: is missing: these segments need sparse grids"),
        ([{"clean": {"choice": [None, 3]}}], "space.timetable.clean_grid: is missing"),
        ([{"clean": {"int": [3, 9]}}], r"space.segments\[0\].grid.clean: must be in \[1, 8\], but got 9"),
        ([{"clean": "9x3"}], r"space.segments\[0\].grid.clean: grid must be at most 8x8, but got 9x3"),
        ([{"clean": {"choice": [3, "3x5"]}, "noise": 2}], r"space.segments\[0\].grid.noise: must be named as"),
        ([{"clean": {"choice": [3, "3x3"]}}], r"space.segments\[0\].grid.clean: must not name 3x3 tokens twice"),
        ([{"noise": 2}], "space.timetable.clean_grid: is missing"),
    ],
)
def test_a_space_refuses_what_cannot_be(grids: list[dict[str, Any] | None], error: str) -> None:
    with pytest.raises(UserError, match=f"^{error}"):
        space(*grids)


def test_the_quality_model_tells_modules_apart() -> None:
    """And describes schedules with one grid as before, with nothing beside it."""

    def described(one: DensitySchedule) -> tuple[float, ...]:
        return features(Candidate(schedule=one, sampling=Sampling(steps=2)), work=1.0)

    ones = [
        schedule(OwnGrid(clean=first), OwnGrid(clean=last)) for first, last in ((5, 3), (3, 5), (4, "2x8"), (4, "8x2"))
    ]
    assert len({described(one) for one in ones}) == len(ones)
    shared, dense = described(schedule(OwnGrid(), OwnGrid(), grids=(5, 3))), described(DensitySchedule.all_dense(8))
    where = shared.index(5.0)
    assert shared[where : where + 8] == (5.0, 3.0, *(0.0,) * 6)
    assert dense[where : where + 8] == (1.0, 1.0, *(0.0,) * 6)


def test_pictures_and_drawings_show_each_modules_grid() -> None:
    one = schedule(OwnGrid(clean=5, noise=3), OwnGrid(clean="2x4"), grids=(1, 1))
    plan = lower(Candidate(schedule=one, sampling=Sampling(steps=2)), TARGET)
    texts = [text.get_text() for text in run_figure(plan).axes[1].texts]
    assert [texts.count(f"{label}".replace("x", "\N{MULTIPLICATION SIGN}")) for label in ("5x5", "3x3", "2x4")] == [
        2,
        2,
        4,
    ]
    assert [line.split()[1:] for line in draw_schedule(one, GRID)[2:]] == [
        [*map(str, (64, 25, 25, 64, 8, 8, 64, 64))],
        [*map(str, (64, 9, 9, 64, 8, 8, 64, 64))],
    ]
