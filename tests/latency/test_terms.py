"""Terms: every kind of step is the sum of the right ones, and designed plans tell all of them apart."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from flexsearch.errors import UserError
from flexsearch.latency.axes import Axes
from flexsearch.latency.cache import sparse_timetables
from flexsearch.latency.design import dense_plan, designed_plans
from flexsearch.latency.fit import solve
from flexsearch.latency.gate import constraints_of, predicted_infeasible
from flexsearch.latency.profile import LatencyProfile
from flexsearch.latency.terms import CALL, IMAGE, Term, operation_term, terms_of
from flexsearch.measurement import Measurement
from flexsearch.schedule import (
    Cache,
    Candidate,
    Dense,
    DensitySchedule,
    Gain,
    GuidanceRows,
    Plan,
    Pooling,
    Sampling,
    Sdtm,
    Target,
    lower,
)
from flexsearch.schedule.families.dense import DENSE
from flexsearch.schedule.families.pooling import POOL
from flexsearch.schedule.presets import dit_shape, text_shape
from flexsearch.schedule.role import OperationKey
from flexsearch.space import SearchSpace, parse_space

BLOCKS = 9
TEXT = Term(kind="text")
TARGET = Target(shape=dit_shape(num_blocks=BLOCKS, width=16, side=8), is_guided=True)
GRID = TARGET.shape.grid
SEARCHED: dict[str, Any] = {
    "sampler_steps": {"choice": [3, 6]},
    "solver": {"choice": ["base", "ab2", "heun"]},
    "cache": {
        "full": {"choice": [0.5, 1.0]},
        "warmup": {"int": [1, 2]},
        "nulls": {"choice": [0, 0.5]},
        "first": {"choice": [0, 2]},
        "order": {"choice": [0, 1]},
        "reuse": {"choice": ["span", "modules"]},
    },
    "guidance": {"to": {"choice": [0.6, 1.0]}},
    "gain": {"stream": {"choice": [1, 0.9]}, "at": 2},
}


def space(*, target: Target = TARGET, **sampling: Any) -> SearchSpace:
    entries = {
        "segments": [
            {"family": "pooling", "depth": {"int": [1, 2]}},
            {"family": "sdtm", "sparse": "rest", "dense": 1},
            {"family": "dense", "depth": 1},
        ],
        "timetable": {"stages": 2, "clean_grid": 4, "noise_grid": {"choice": [2, 4]}},
        "sampler_steps": 3,
    }
    return parse_space({**entries, **sampling}, target=target)


def plan_of(*, schedule: DensitySchedule | None = None, target: Target = TARGET, **sampling: Any) -> Plan:
    """By default, of the dense base at six steps."""
    dense = DensitySchedule.all_dense(BLOCKS)
    return lower(Candidate(schedule=schedule or dense, sampling=Sampling(**{"steps": 6, **sampling})), target)


def key_of(role: str) -> OperationKey:
    return (role, GRID, GRID, ())


def block(role: str = DENSE.name, *, is_one_row: bool = False) -> Term:
    return operation_term(key_of(role), is_one_row=is_one_row)


def reused(role: str, *, order: int) -> Term:
    return Term(kind="reused operation", operation=key_of(role), order=order)


def design(space: SearchSpace) -> list[Plan]:
    return designed_plans(
        space.target,
        families=[Dense, Pooling, Sdtm],
        timetables=sparse_timetables(space),
        operations=[],
        axes=Axes.of_space(space),
    )


def true_ms(term: Term) -> float:
    """A time for every term, on a device of this test's making."""
    whole = {
        "image": 0.3,
        "text": 0.7,
        "call": 0.9,
        "operation": 1.0,
        "reused operation": 0.05,
        "reused residual": 0.08,
        "left residual": 0.02,
        "left module outputs": 0.003,
        "null step": 0.04,
        "solver": {"ab2": 0.05, "heun": 0.07}.get(str(term.solver), 0.0),
    }[term.kind]
    size = 0.0
    if term.operation is not None:
        role, queries, keys, _ = term.operation
        size = 0.01 * queries.num_tokens + 0.002 * keys.num_tokens + 0.1 * len(role)
    rows = 0.6 if term.is_one_row else 1.0
    return rows * whole * (1 + size) * (1 + 0.5 * (term.order or 0))


def profile(space: SearchSpace, *, error: float = 0.01) -> LatencyProfile:
    """A profile that was solved from the times of the designed plans."""
    plans = design(space)
    measured = [sum(num * true_ms(term) for term, num in terms_of(plan).items()) for plan in plans]
    return LatencyProfile.of(
        solve(plans, measured),
        num_blocks=BLOCKS,
        grid=GRID,
        reference_ms=100.0,
        noise=0.0,
        error=error,
        kendall_tau=1.0,
        held_out=(),
        protocol={"device": "none"},
    )


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ({}, {CALL: 6, block(): 6 * BLOCKS}),
        ({"solver": "ab2"}, {CALL: 6, block(): 6 * BLOCKS, Term(kind="solver", solver="ab2"): 6}),
        ({"solver": "heun"}, {CALL: 11, block(): 11 * BLOCKS, Term(kind="solver", solver="heun"): 11}),
        (
            {"cache": Cache(pattern="FFnFnn"), "solver": "ab2"},
            {
                CALL: 3,
                block(): 3 * BLOCKS,
                Term(kind="null step", order=1): 3,
                Term(kind="solver", solver="ab2"): 6,
            },
        ),
        (
            {"cache": Cache(pattern="FnFnFn", order=0)},
            {CALL: 3, block(): 3 * BLOCKS, Term(kind="null step", order=0): 3},
        ),
        (
            {"cache": Cache(pattern="FpFFpp", first=2, last=1)},  # the first has nothing to extrapolate from
            {
                CALL: 6,
                block(): 3 * BLOCKS + 3 * 3,
                Term(kind="reused residual", order=0): 1,
                Term(kind="reused residual", order=1): 2,
                Term(kind="left residual"): 3,
            },
        ),
        (
            {"cache": Cache(pattern="FFpFpn", first=2, reuse="modules")},
            {
                CALL: 5,
                block(): 3 * BLOCKS + 2 * 2,
                reused(DENSE.name, order=1): 2 * (BLOCKS - 2),
                Term(kind="left module outputs"): 3 * (BLOCKS - 2),
                Term(kind="null step", order=1): 1,
            },
        ),
        (
            {"guidance": GuidanceRows(end=0.6)},  # the times are 1, 5/6, 4/6, 3/6, 2/6, 1/6
            {
                CALL: 3,
                block(): 3 * BLOCKS,
                Term(kind="call", is_one_row=True): 3,
                block(is_one_row=True): 3 * BLOCKS,
            },
        ),
        (
            {"guidance": GuidanceRows(end=0.6), "cache": Cache(pattern="FFpFpp", first=1)},
            {
                Term(kind="call", is_one_row=True): 3,
                block(is_one_row=True): 2 * BLOCKS + 1,
                Term(kind="reused residual", order=1, is_one_row=True): 1,
                Term(kind="left residual", is_one_row=True): 2,
                CALL: 3,
                block(): BLOCKS + 2,
                Term(kind="reused residual", order=0): 2,
                Term(kind="left residual"): 1,
            },
        ),
    ],
)
def test_every_kind_of_step_has_its_terms(sampling: dict[str, Any], expected: dict[Term, int]) -> None:
    assert terms_of(plan_of(**sampling)) == Counter({IMAGE: 1, **expected})


def test_roles_that_are_reused_have_terms_of_their_own() -> None:
    schedule = DensitySchedule(segments=(Dense(depth=1), Pooling(depth=3), Dense(depth=BLOCKS - 4)))
    counts = terms_of(plan_of(schedule=schedule, cache=Cache(pattern="FpppFp", order=0, first=1, reuse="modules")))
    assert counts[reused(POOL.name, order=0)] == 4 * 3
    assert counts[reused(DENSE.name, order=0)] == 4 * (BLOCKS - 4)
    assert counts[block(POOL.name)] == 2 * 3
    assert counts[block()] == 2 * (BLOCKS - 3) + 4


def test_gains_cost_nothing() -> None:
    cached = {"cache": Cache(pattern="FFpFpn")}
    assert terms_of(plan_of(**cached)) == terms_of(plan_of(**cached, gain=Gain(stream=0.9, at=3)))


def test_without_guidance_there_are_no_rows_to_leave_out() -> None:
    assert terms_of(plan_of(target=replace(TARGET, is_guided=False))) == terms_of(plan_of())


def test_the_axes_of_a_space_are_those_of_its_candidates() -> None:
    searched = space(**SEARCHED)
    drawn = Axes.of_plans(map(searched.plan, searched.candidates(up_to=5000)))
    assert drawn == Axes.of_space(searched)
    assert drawn.solvers == {"ab2", "heun"}
    assert drawn.reuses == {(kind, order) for kind in ("output", "residual", "modules") for order in (0, 1)}
    assert drawn.has_one_row
    assert drawn | Axes() == drawn
    assert Axes.of_space(space()) == Axes() == Axes.of_plans([plan_of()])
    assert Axes().to_dict() == {}
    assert Axes.of_space(space(gain=SEARCHED["gain"])) == Axes()


def test_the_design_tells_all_terms_apart() -> None:
    searched = space(**SEARCHED)
    found = profile(searched)
    assert {one.term for one in found.others} >= {Term(kind="call", is_one_row=True), Term(kind="null step", order=1)}
    for one in found.others:
        assert one.ms == pytest.approx(true_ms(one.term), rel=1e-6), one
    for other in found.operations:
        assert other.ms == pytest.approx(true_ms(operation_term(other.key)), rel=1e-6), other
    assert found.step_ms == pytest.approx(true_ms(CALL), rel=1e-6)
    assert found.image_ms == pytest.approx(true_ms(IMAGE), rel=1e-6)


def test_text_is_a_term_of_its_own_once_per_image() -> None:
    reads_text = replace(TARGET, shape=text_shape(num_blocks=BLOCKS, width=16, side=8))
    plan, one_row = (plan_of(target=reads_text, guidance=GuidanceRows(end=end)) for end in (0.6, 0.0))
    assert terms_of(plan) == terms_of(plan_of(guidance=GuidanceRows(end=0.6))) + Counter([TEXT])
    assert terms_of(one_row)[replace(TEXT, is_one_row=True)] == 1
    searched = space(target=reads_text, **SEARCHED)
    found, before = profile(searched), profile(space(**SEARCHED))
    assert dict(found._ms)[TEXT] == pytest.approx(true_ms(TEXT), rel=1e-6)
    assert found.predict(plan) == pytest.approx(sum(num * true_ms(term) for term, num in terms_of(plan).items()))
    assert not before.covers(plan), "a profile of before text had a time of its own"
    with pytest.raises(UserError, match="text was not profiled"):
        before.predict(plan)


def test_a_space_without_searched_sampling_is_timed_as_before() -> None:
    plans, searched = design(space()), design(space(**SEARCHED))
    assert plans == searched[: len(plans)]
    assert {one.kind for plan in plans for one in terms_of(plan)} == {"image", "call", "operation"}
    assert profile(space()).others == ()


def test_every_candidate_is_the_sum_of_its_terms() -> None:
    searched = space(**SEARCHED)
    found = profile(searched)
    plans = [searched.plan(one) for one in searched.candidates(up_to=400)]
    assert {step.letter for plan in plans for step in plan.steps} == {"F", "p", "n"}
    for plan in plans:
        assert found.covers(plan)
        expected = sum(num * true_ms(term) for term, num in terms_of(plan).items())
        assert found.predict(plan) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("sampling", "unknown"),
    [
        ({"solver": "ab2"}, "ab2 solver"),
        ({"cache": Cache(pattern="FFnFnn")}, "null step, order 1"),
        ({"cache": Cache(pattern="FpFpFp", order=0)}, "left residual"),
        ({"cache": Cache(pattern="FFFFFp", reuse="modules")}, "left module outputs"),
        ({"guidance": GuidanceRows(end=0.6)}, "call, one row"),
    ],
)
def test_sampling_that_was_not_profiled_is_not_guessed(sampling: dict[str, Any], unknown: str) -> None:
    found, plan = profile(space()), plan_of(**sampling)
    assert not found.covers(plan)
    with pytest.raises(UserError, match=f"{unknown} was not profiled"):
        found.predict(plan)


def test_a_profile_survives_json_and_one_without_other_terms_is_read() -> None:
    found = profile(space(**SEARCHED))
    values = json.loads(json.dumps(found.to_dict()))
    assert LatencyProfile.from_dict(values) == found
    del values["others"]
    old = LatencyProfile.from_dict(values)
    assert old == replace(found, others=())
    assert old.predict(plan_of()) == found.predict(plan_of())


def test_slower_than_dense_means_all_steps_in_full() -> None:
    """Reuse saves against the dense base at the same sampler steps; a second model call per step is the solver's."""
    latency = Measurement(name="latency_ms", value=14.0, unit="ms/image", spread=0.0)
    for sampling, dense_ms in (
        (Sampling(steps=6, cache=Cache(pattern="FFpFpn")), 30.0),
        (Sampling(steps=6, guidance=GuidanceRows(end=0.6)), 30.0),
        (Sampling(steps=6, solver="ab2"), 30.0),
        (Sampling(steps=6, solver="heun"), 55.0),
    ):
        reference = dense_plan(TARGET, Sampling(steps=2))
        plan = dense_plan(TARGET, sampling)
        found = constraints_of(latency, plan, max_ms=None, reference=reference, reference_ms=10.0)
        assert found["slower_than_dense"] == pytest.approx(14.0 / dense_ms - 1)


def test_a_prediction_is_compared_with_the_dense_base_in_full() -> None:
    found = profile(space(**SEARCHED))
    plan = plan_of(solver="ab2", cache=Cache(pattern="FFpFpn"), guidance=GuidanceRows(end=0.6))
    result = predicted_infeasible(plan, found, max_ms=0.1, reference_ms=None)
    assert result is not None
    dense_ms = found.predict(plan_of(solver="ab2"))
    assert result[1]["slower_than_dense"] == pytest.approx(found.predict(plan) / dense_ms - 1)
    assert result[1]["slower_than_dense"] < -0.4


def test_a_dense_schedule_is_not_refused_for_its_solver() -> None:
    slow = Measurement(name="latency_ms", value=31.0, unit="ms/image", spread=0.0)
    for schedule, slower in ((None, 0.0), (DensitySchedule(segments=(Pooling(depth=BLOCKS),)), 31.0 / 30.0 - 1)):
        plan, reference = plan_of(schedule=schedule, solver="ab2"), dense_plan(TARGET, Sampling(steps=2))
        found = constraints_of(slow, plan, max_ms=None, reference=reference, reference_ms=10.0)
        assert found["slower_than_dense"] == pytest.approx(slower)
