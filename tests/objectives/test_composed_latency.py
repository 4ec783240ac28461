"""Latency by composition: exact where operations simply add up, honest about what it does not know."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from flexsearch.objectives.latency import Workload
from flexsearch.objectives.operation_times import Generation, designed_generations, relative_times, solve

from flexsearch.errors import UserError
from flexsearch.objectives import latency
from flexsearch.objectives.composed_latency import PLATEAU_WITHIN, HeldOut, LatencyProfile, OperationTime
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.plan import lower
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.timetable import Timetable, equal_edges
from flexsearch.space.search_space import SearchSpace, parse_space

GRID = TokenGrid(height=8, width=8)
BLOCKS = 11
TIMES = {2: (1.0, 0.4), 3: (1.0, 0.6, 0.2)}
STEP, ONCE = 0.7, 0.2


def true_time(kind: str, queries: int, keys: int) -> float:
    """Milliseconds of an operation on a device of this test's making, not linear in the tokens."""
    fixed = {"dense": 1.0, "pool": 0.5, "merge": 0.4, "sparse": 0.3, "recover": 1.2}[kind]
    return fixed + 0.01 * queries + 0.002 * keys + 0.0001 * queries * keys


def true_latency(candidate: Candidate) -> float:
    """By walking over steps and blocks."""
    total = ONCE
    for time in TIMES[candidate.sampling.steps]:
        timetable = candidate.schedule.timetable
        sparse = timetable.grids[timetable.stage_of(time)] ** 2
        tokens = {
            "dense": (64, 64),
            "pool": (64, 64),
            "merge": (sparse, 64),
            "sparse": (sparse, sparse),
            "recover": (64, sparse),
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
        num_blocks=BLOCKS,
        grid=GRID,
    )


def design() -> list[Generation]:
    return designed_generations([(2, None), (4, None), (5, None)], num_blocks=BLOCKS, grid=GRID, whole=["pool"])


def times_of(one: Generation) -> Sequence[float]:
    return [step / one.sampling.steps for step in range(one.sampling.steps)]


def profile(noise: float = 0.0) -> LatencyProfile:
    """A profile that was solved from the times of the designed generations."""
    generations = design()
    measured = []
    for one in generations:
        counts = one.counts(times_of(one))
        operations = sum(
            count * true_time(kind, queries.num_tokens, keys.num_tokens)
            for (kind, queries, keys), count in counts.items()
        )
        measured.append(ONCE + one.sampling.steps * STEP + operations)
    found = solve(
        [one.counts(times_of(one)) for one in generations], [one.sampling.steps for one in generations], measured
    )
    return LatencyProfile(
        num_blocks=BLOCKS,
        grid=GRID,
        operations=tuple(
            OperationTime(kind=kind, queries=queries, keys=keys, ms=ms)
            for (kind, queries, keys), ms in found.operations.items()
        ),
        step_ms=found.step,
        image_ms=found.once,
        reference_ms=100.0,
        sampler_times=TIMES,
        noise=noise,
        error=0.01,
        kendall_tau=1.0,
        held_out=(),
        protocol={"device": "none"},
    )


def test_the_designed_generations_tell_all_operations_apart() -> None:
    found = profile()
    assert found.step_ms == pytest.approx(STEP, rel=1e-6)
    assert found.image_ms == pytest.approx(ONCE, rel=1e-6)
    assert len(found.operations) == 2 + 3 * 3
    for one in found.operations:
        expected = true_time(one.kind, one.queries.num_tokens, one.keys.num_tokens)
        assert one.ms == pytest.approx(expected, rel=1e-6), one


def test_every_candidate_is_the_sum_of_its_operations(space: SearchSpace) -> None:
    found = profile()
    candidates = space.candidates(up_to=1000)
    assert len(candidates) > 100
    for candidate in candidates:
        assert found.covers(candidate)
        assert found.predict(candidate) == pytest.approx(true_latency(candidate), rel=1e-6)


def test_a_slower_device_is_slower_for_all(space: SearchSpace) -> None:
    found, candidate = profile(), space.build(space.sample(random.Random(0)))
    assert found.predict(candidate, reference_ms=150.0) == pytest.approx(1.5 * found.predict(candidate))


def test_times_are_never_negative() -> None:
    generations = design()
    counts = [one.counts(times_of(one)) for one in generations]
    generator = random.Random(3)
    noisy = [generator.uniform(0.1, 10) for _ in generations]
    found = solve(counts, [one.sampling.steps for one in generations], noisy)
    assert min(*found.operations.values(), found.step, found.once) >= 0


def test_what_was_not_profiled_is_not_guessed() -> None:
    found = profile()
    other_grid = DensitySchedule(segments=(Sdtm(sparse=BLOCKS - 2, dense=0),), timetable=Timetable(grids=(3,)))
    unknown = [
        Candidate(schedule=other_grid, sampling=Sampling(steps=2)),
        Candidate(schedule=DensitySchedule.all_dense(BLOCKS), sampling=Sampling(steps=50)),
    ]
    for candidate in unknown:
        assert not found.covers(candidate)
    with pytest.raises(UserError, match="merge from 8x8 to 3x3 tokens was not profiled"):
        found.predict(unknown[0])
    with pytest.raises(UserError, match="50 were not profiled; nearest legal: 3"):
        found.predict(unknown[1])


def test_a_profile_survives_json(space: SearchSpace) -> None:
    candidate = space.build(space.sample(random.Random(0)))
    held_out = (HeldOut(candidate=candidate, predicted_ms=2.0, measured_ms=2.1),)
    found = replace(profile(), held_out=held_out)
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
    by_side = dict(zip((2, 4, 5), sparse_ms, strict=True))
    operations = [OperationTime(kind="dense", queries=GRID, keys=GRID, ms=2.0)]
    for side, ms in by_side.items():
        sparse = GRID.pooled(side)
        operations += [
            OperationTime(kind="merge", queries=sparse, keys=GRID, ms=0.0),
            OperationTime(kind="sparse", queries=sparse, keys=sparse, ms=ms),
            OperationTime(kind="recover", queries=GRID, keys=sparse, ms=0.0),
        ]
    found = replace(profile(noise), operations=tuple(operations), step_ms=0.0)
    assert [tuple(grid.height for grid in run.grids) for run in found.plateaus()] == expected
    assert all(run.within <= PLATEAU_WITHIN for run in found.plateaus())


def test_a_machine_that_slows_down_steadily_changes_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    now, slowdown = [0.0], [1.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])

    def workload(seconds: float) -> Workload:
        def run() -> None:
            now[0] += seconds * slowdown[0]
            slowdown[0] += 0.25

        return run

    seen: list[tuple[int, int]] = []
    found = relative_times(
        [workload(1.0), workload(3.0)],
        workload(2.0),
        rounds=3,
        device=torch.device("cpu"),
        report=lambda done, total: seen.append((done, total)),
    )
    assert found.ratios == pytest.approx([0.5, 1.5])
    assert found.errors == pytest.approx([0.0, 0.0], abs=1e-9)
    assert found.reference_s > 2.0
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_stages_decide_how_often_an_operation_runs() -> None:
    schedule = DensitySchedule(
        segments=(Pooling(depth=1), Sdtm(sparse=2, dense=0), Dense(depth=BLOCKS - 5)),
        timetable=Timetable(edges=equal_edges(2), grids=(4, 2)),
    )
    one = Generation(plan=lower(schedule, num_blocks=BLOCKS, grid=GRID), sampler_steps=3)
    counts = one.counts(TIMES[3])
    few, many = GRID.pooled(2), GRID.pooled(4)
    assert counts["sparse", few, few] == 2 * 2  # the times 1.0 and 0.6
    assert counts["sparse", many, many] == 2
    assert counts["dense", GRID, GRID] == 3 * (BLOCKS - 5)
