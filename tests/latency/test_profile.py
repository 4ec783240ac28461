"""Latency by composition: exact where operations simply add up, honest about what it does not know."""

import json
import random
from dataclasses import replace

import pytest

from flexsearch.errors import Note, UserError
from flexsearch.latency.axes import Axes
from flexsearch.latency.cache import load_profile, save_profile
from flexsearch.latency.design import dense_plan, designed_plans
from flexsearch.latency.fit import solve
from flexsearch.latency.gate import constraints_of, fastest_candidates, infeasible_reason, predicted_infeasible
from flexsearch.latency.profile import PLATEAU_WITHIN, HeldOut, LatencyProfile, OperationTime
from flexsearch.latency.terms import terms_of
from flexsearch.measurement import Measurement
from flexsearch.schedule import (
    Candidate,
    Clock,
    Dense,
    DensitySchedule,
    Operation,
    Plan,
    Pooling,
    Sampling,
    Sdtm,
    Target,
    Timetable,
    lower,
)
from flexsearch.schedule.families.dense import DENSE
from flexsearch.schedule.families.pooling import POOL
from flexsearch.schedule.families.sdtm import MERGE, RECOVER, SPARSE
from flexsearch.schedule.presets import dit_shape
from flexsearch.schedule.role import OperationKey
from flexsearch.schedule.timetable import equal_edges
from flexsearch.space import SearchSpace, parse_space

BLOCKS = 11
TARGET = Target(shape=dit_shape(num_blocks=BLOCKS, width=16, side=8), clock=Clock())
GRID = TARGET.shape.grid
STEP, ONCE = 0.7, 0.2
FIXED = {DENSE.name: 1.0, POOL.name: 0.5, MERGE.name: 0.4, SPARSE.name: 0.3, RECOVER.name: 1.2}
NARROW = Operation(role=DENSE.name, block=3, queries=GRID, keys=GRID, amounts=(("hidden", 8),))


def true_time(role: str, queries: int, keys: int) -> float:
    """Milliseconds of an operation on a device of this test's making, not linear in the tokens."""
    return FIXED[role] + 0.01 * queries + 0.002 * keys + 0.0001 * queries * keys


def time_of(key: OperationKey) -> float:
    role, queries, keys, amounts = key
    return true_time(role, queries.num_tokens, keys.num_tokens) * (0.5 if amounts else 1.0)


def true_latency(candidate: Candidate) -> float:
    """By walking over steps and blocks."""
    total, timetable = ONCE, candidate.schedule.timetable
    for time in TARGET.clock.times(candidate.sampling.steps, num_tokens=64):
        sparse = timetable.grids[timetable.stage_of(time)] ** 2
        tokens = {
            DENSE.name: (64, 64),
            POOL.name: (64, 64),
            MERGE.name: (sparse, 64),
            SPARSE.name: (sparse, sparse),
            RECOVER.name: (64, sparse),
        }
        total += STEP + sum(true_time(role, *tokens[role]) for role in candidate.schedule.roles)
    return total


@pytest.fixture
def space() -> SearchSpace:
    return parse_space(
        {
            "segments": [
                {"family": "pooling", "depth": {"int": [0, 2]}},
                {"family": "sdtm", "repeat": {"int": [1, 2]}, "merge": 1, "sparse": "rest", "dense": {"int": [0, 1]}},
                {"family": "dense", "depth": {"int": [0, 2]}},
            ],
            "timetable": {"stages": 2, "clean_grid": {"choice": [4, 5]}, "noise_grid": {"choice": [2, 4]}},
            "sampler_steps": {"choice": [2, 3]},
        },
        target=TARGET,
    )


def design() -> list[Plan]:
    timetables = [Timetable(grids=(side,)) for side in (2, 4, 5)]
    families = [Dense, Pooling, Sdtm]
    return designed_plans(TARGET, families=families, timetables=timetables, operations=[NARROW], axes=Axes())


def profile(*, noise: float = 0.0, error: float = 0.01) -> LatencyProfile:
    """A profile that was solved from the times of the designed plans."""
    plans = design()
    measured = [
        ONCE + len(plan.steps) * STEP + sum(time_of(one.key) for step in plan.steps for one in step.route)
        for plan in plans
    ]
    return LatencyProfile.of(
        solve(plans, measured),
        num_blocks=BLOCKS,
        grid=GRID,
        reference_ms=100.0,
        noise=noise,
        error=error,
        kendall_tau=1.0,
        held_out=(),
        protocol={"device": "none"},
    )


def operation_time(key: OperationKey, ms: float) -> OperationTime:
    role, queries, keys, amounts = key
    return OperationTime(role=role, queries=queries, keys=keys, amounts=amounts, ms=ms)


def drawn(space: SearchSpace) -> Plan:
    return space.plan(space.build(space.sample(random.Random(0))))


def test_the_designed_plans_tell_all_operations_apart() -> None:
    found = profile()
    assert found.step_ms == pytest.approx(STEP, rel=1e-6)
    assert found.image_ms == pytest.approx(ONCE, rel=1e-6)
    assert len(found.operations) == 3 + 3 * 3
    for one in found.operations:
        assert one.ms == pytest.approx(time_of(one.key), rel=1e-6), one
    plans, generator = design(), random.Random(3)
    assert min(solve(plans, [generator.uniform(0.1, 10) for _ in plans]).values()) >= 0, "whatever was measured"


def test_the_design_holds_every_graph_once() -> None:
    plans = design()
    assert [(len(plan.steps), len(plan.graphs)) for plan in plans[:4]] == [(4, 1), (16, 1), (4, 1), (8, 1)]
    assert all(step.route == () for plan in plans[:2] for step in plan.steps)
    assert len({plan.graphs for plan in plans}) == len(plans) - 2 == 2 + 1 + 3 * 3 + 1
    assert all(len(step.route) == BLOCKS for plan in plans[2:] for step in plan.steps)


def test_every_candidate_is_the_sum_of_its_operations(space: SearchSpace) -> None:
    found = profile()
    candidates = space.candidates(up_to=1000)
    assert len(candidates) > 100
    for candidate in candidates:
        plan = space.plan(candidate)
        assert found.covers(plan)
        assert found.predict(plan) == pytest.approx(true_latency(candidate), rel=1e-6)
    assert found.predict(plan, reference_ms=150.0) == pytest.approx(1.5 * found.predict(plan)), "on a slower device"
    many = Candidate(schedule=DensitySchedule.all_dense(BLOCKS), sampling=Sampling(steps=50))
    assert found.predict(lower(many, TARGET)) == pytest.approx(true_latency(many), rel=1e-6)


def test_what_was_not_profiled_is_not_guessed() -> None:
    found = profile()
    other_grid = DensitySchedule(segments=(Sdtm(sparse=BLOCKS - 2, dense=0),), timetable=Timetable(grids=(3,)))
    unknown = lower(Candidate(schedule=other_grid, sampling=Sampling(steps=2)), TARGET)
    assert not found.covers(unknown)
    with pytest.raises(UserError, match="merge from 8x8 to 3x3 tokens was not profiled"):
        found.predict(unknown)


@pytest.mark.parametrize(
    "left", [b"", b"{", b"[]", b"null", bytes(100), b'{"operations": 3}', b"\xff\xfe"], ids=lambda left: str(left[:9])
)
@pytest.mark.usefixtures("own_cache")
def test_a_damaged_profile_is_a_note_and_is_left_alone(left: bytes) -> None:
    hardware = {"device": "none"}
    path = save_profile(profile(), "key", hardware)
    assert load_profile("key", lambda: hardware) == profile()
    path.write_bytes(left)
    with pytest.warns(Note, match=r"profiles/key-\w+\.json: cannot be read \(.*flexsearch profile makes another"):
        assert load_profile("key", lambda: hardware) is None
    assert path.read_bytes() == left


def test_a_profile_survives_json(space: SearchSpace) -> None:
    candidate = drawn(space).candidate
    held_out = (HeldOut(schedule=str(candidate), candidate=candidate.to_dict(), predicted_ms=2.0, measured_ms=2.1),)
    found = replace(profile(), held_out=held_out)
    assert any(one.amounts for one in found.operations)
    assert LatencyProfile.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize(
    ("sparse_ms", "noise", "expected"),
    [
        ((1.0, 1.0, 3.0), 0.0, [(2, 4)]),
        ((1.0, 1.02, 1.04), 0.0, [(2, 4, 5)]),
        ((1.0, 1.04, 1.08), 0.0, [(2, 4)]),
        ((1.0, 1.5, 3.0), 0.0, []),
        ((1.0, 3.0, 2.99), 0.0, [(4, 5)]),
        ((1.0, 1.02, 3.0), 0.01, [(2, 4)]),
        ((1.0, 1.0, 1.0), 0.02, []),  # too noisy to tell
    ],
)
def test_plateaus_are_equal_for_certain(
    sparse_ms: tuple[float, ...], noise: float, expected: list[tuple[int, ...]]
) -> None:
    sparse = [GRID.pooled(side) for side in (2, 4, 5)]
    times = {(DENSE.name, GRID, GRID, ()): 2.0}
    for grid, ms in zip(sparse, sparse_ms, strict=True):
        times |= {
            (MERGE.name, grid, GRID, ()): 0.0,
            (SPARSE.name, grid, grid, ()): ms,
            (RECOVER.name, GRID, grid, ()): 0.0,
        }
    operations = [operation_time(key, ms) for key, ms in times.items()]
    found = replace(profile(noise=noise), operations=tuple(operations), step_ms=0.0)
    assert found.sparse_call_ms() == pytest.approx(
        {grid: (BLOCKS - 2) * ms for grid, ms in zip(sparse, sparse_ms, strict=True)}
    )
    assert [tuple(grid.height for grid in run.grids) for run in found.plateaus()] == expected
    assert all(run.within <= PLATEAU_WITHIN for run in found.plateaus())


def test_stages_decide_how_often_an_operation_runs() -> None:
    schedule = DensitySchedule(
        segments=(Pooling(depth=1), Sdtm(sparse=2, dense=0), Dense(depth=BLOCKS - 5)),
        timetable=Timetable(edges=equal_edges(2), grids=(4, 2)),
    )
    terms = terms_of(lower(Candidate(schedule=schedule, sampling=Sampling(steps=3)), TARGET))
    counts = {term.operation: num for term, num in terms.items()}
    few, many = GRID.pooled(2), GRID.pooled(4)
    assert counts[SPARSE.name, few, few, ()] == 2 * 2  # the times 1 and 2/3
    assert counts[SPARSE.name, many, many, ()] == 2
    assert counts[DENSE.name, GRID, GRID, ()] == 3 * (BLOCKS - 5)


def test_only_what_is_clearly_above_the_limit_is_refused_unmeasured(space: SearchSpace) -> None:
    plan, found = drawn(space), profile(error=0.02)
    now = found.predict(plan)

    def refused(at: float, *, slowdown: float | None = None, max_ms: float | None = now) -> str | None:
        """The reason at `at` times the limit."""
        limit = None if max_ms is None else max_ms / at
        reference_ms = None if slowdown is None else slowdown * found.reference_ms
        result = predicted_infeasible(plan, found, max_ms=limit, reference_ms=reference_ms)
        return None if result is None else infeasible_reason(*result, max_ms=limit)

    assert refused(0.9) is None
    assert refused(1.05) is None  # within three times the error
    assert refused(1.1) == f"a predicted {now:.3g} ms/image is above the limit of {now / 1.1:.3g}"
    assert refused(1.1, max_ms=None) is None
    assert refused(0.9, slowdown=2.0) is not None
    assert refused(1.1, slowdown=0.5) is None
    assert predicted_infeasible(plan, None, max_ms=1e-6, reference_ms=None) is None
    result = predicted_infeasible(plan, found, max_ms=now / 2, reference_ms=None)
    assert result is not None
    latency, constraints = result
    assert latency.name == "predicted_latency_ms"
    dense_ms = true_latency(dense_plan(TARGET, plan.candidate.sampling).candidate)
    assert constraints == pytest.approx({"latency_limit_ms": now / 2, "slower_than_dense": now / dense_ms - 1})


@pytest.mark.parametrize(
    ("ms", "spread", "max_ms", "reason"),
    [
        (14.0, 0.5, None, None),
        (15.9, 1.0, None, None),  # only noise makes it slower
        (17.0, 1.0, None, "17 ms/image is slower than the dense base at the same sampler steps"),
        (14.0, 0.0, 12.0, "14 ms/image is above the limit of 12"),
        (12.0, 0.0, 12.0, None),
    ],
)
def test_what_is_slower_than_the_dense_base_at_the_same_steps_is_refused(
    ms: float, spread: float, max_ms: float | None, reason: str | None
) -> None:
    schedule = DensitySchedule(segments=(Pooling(depth=BLOCKS),))
    plan = lower(Candidate(schedule=schedule, sampling=Sampling(steps=3)), TARGET)
    latency = Measurement(name="latency_ms", value=ms, unit="ms/image", spread=spread)
    constraints = constraints_of(
        latency, plan, max_ms=max_ms, reference=dense_plan(TARGET, Sampling(steps=2)), reference_ms=10.0
    )
    assert constraints["slower_than_dense"] == pytest.approx((ms - spread) / 15 - 1)  # three steps take 15 ms
    assert infeasible_reason(latency, constraints, max_ms=max_ms) == reason


def test_the_fastest_candidates_have_the_fewest_macs_and_different_schedules(space: SearchSpace) -> None:
    found = fastest_candidates(space, num=3)
    assert len({one.schedule.digest for one in found}) == 3
    assert [one.sampling.steps for one in found] == [2, 2, 2]
    macs = sorted(space.plan(one).macs for one in space.candidates(up_to=1000) if one.sampling.steps == 2)
    assert [space.plan(one).macs for one in found] == macs[:3]


def test_with_a_profile_the_fastest_are_those_predicted(space: SearchSpace) -> None:
    times = tuple(replace(one, ms=100.0 if one.role == SPARSE.name else 1.0) for one in profile().operations)
    (fastest,) = fastest_candidates(space, num=1, profile=replace(profile(), operations=times))
    least = min(one.schedule.roles.count(SPARSE.name) for one in space.candidates(up_to=1000))
    assert fastest.schedule.roles.count(SPARSE.name) == least
    partial = replace(profile(), operations=times[:1])  # which covers no candidate
    assert fastest_candidates(space, num=3, profile=partial) == fastest_candidates(space, num=3)
