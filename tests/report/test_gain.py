"""What is free beside a point at equal latency, curves of one sampling, and the dense base at equal steps."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_run import LATENCY, QUALITY, tiny_store, trial_record

from flexsearch.report.front import front_of
from flexsearch.report.gain import gain_of
from flexsearch.report.points import FrontPoint, Points, Reach
from flexsearch.schedule import Cache, Dense, DensitySchedule, Pooling, Sampling

DENSE = [(10.0, 20.0, 10), (15.0, 10.0, 5), (25.0, 5.0, 3)]


def test_comparison_with_the_dense_base(tmp_path: Path) -> None:
    """At 7.5 ms the dense base is at 20 between 5 and 3 steps; at 10 steps it takes 20 ms."""
    front = front_of(tiny_store(tmp_path, [(12.0, 7.5), (40.0, 2.0)], dense=DENSE), (QUALITY, LATENCY))
    assert [front.values(record)[1] for record in front.free] == [5.0, 10.0, 20.0]
    points = front.as_searched
    good, fast, slow = (gain_of(points, points.by_number[number]) for number in (3, 4, 0))
    assert good.speedup == pytest.approx(20 / 7.5)
    assert good.quality == pytest.approx(20.0 - 12.0)
    assert (fast.quality, fast.free_quality) == (None, None)
    assert (slow.speedup, slow.quality) == (1.0, 0.0)


def point(
    number: int,
    quality: float,
    ms: float,
    *,
    schedule: DensitySchedule | None = None,
    baseline: str | None = None,
    **sampling: Any,
) -> FrontPoint:
    """A point of the dense base of 4 blocks, or of another schedule; nothing of it was trained."""
    record = trial_record(number, quality, ms, sampling=Sampling(**sampling), baseline=baseline, num_updates=0)
    if schedule is not None:
        record = replace(record, candidate=replace(record.candidate, schedule=schedule), num_updates=60)
    return FrontPoint(record=record, quality=quality, latency_ms=ms)


def points_of(*points: FrontPoint) -> Points:
    return Points.of(points, quality_sd=None, latency_sd=None)


SPARSE = DensitySchedule(segments=(Pooling(depth=1), Dense(depth=3)))
SOLVERS = [("base", 4, 30.0, 4.0), ("base", 8, 10.0, 8.0), ("ab2", 4, 20.0, 5.0), ("ab2", 8, 16.0, 9.0)]
BASELINES = [
    point(number, quality, ms, baseline=f"dense, {steps} steps, {solver}", steps=steps, solver=solver)
    for number, (solver, steps, quality, ms) in enumerate(SOLVERS)
]


def test_curves_are_of_one_sampling_and_speed_is_beside_the_own_solver() -> None:
    """Two solvers at equal steps are two curves; the better one counts at equal latency."""
    for solver in ("base", "ab2"):
        one = point(9, 5.0, 6.0, schedule=SPARSE, steps=8, solver=solver)
        found = gain_of(points_of(*BASELINES, one), one)
        assert found.speedup == pytest.approx(8.0 / 6.0)
        assert found.free_quality == pytest.approx(19.0), "20 of base between its two points, 19 of ab2"
        assert found.rival == BASELINES[2], "the best that is at most as slow"


def test_no_curve_goes_on_beyond_its_ends() -> None:
    assert Reach(BASELINES[:2]).at(3.9) is None
    assert Reach(BASELINES[:2]).at(100.0) == 10.0
    assert Reach(sorted(BASELINES, key=lambda one: one.latency_ms)).at(100.0) == 10.0


@pytest.mark.parametrize("seed", range(4))
def test_what_is_free_is_at_least_as_good_as_what_can_be_had(seed: int) -> None:
    """Never worse than the best baseline that is at most as slow, never better than all, and falling with latency."""
    generator = np.random.default_rng(seed)
    cases = [(solver, steps) for solver in ("base", "ab2", "unipc") for steps in range(2, 12)]
    free = [
        point(0, float(q), float(ms), steps=steps, solver=solver)
        for (solver, steps), q, ms in zip(
            cases, generator.uniform(5, 30, len(cases)), generator.uniform(1, 9, len(cases)), strict=True
        )
    ]
    free.sort(key=lambda one: one.latency_ms)
    for ms in generator.uniform(0.5, 12, 50):
        found, had = Reach(free).at(ms), [one.quality for one in free if one.latency_ms <= ms]
        assert (found is None) == (not had)
        assert found is None or min(one.quality for one in free) <= found <= min(had)


def test_what_was_trained_is_compared_with_all_that_is_free() -> None:
    """The search found 12 at 5 ms for nothing: over it, a trained point gains 2 less than over the baselines."""
    found_free = point(8, 12.0, 5.0, steps=6, solver="ab2", cache=Cache(full=0.5))
    trained = point(9, 11.0, 6.0, schedule=SPARSE, steps=6)
    points = points_of(*BASELINES, found_free, trained)
    of_trained, of_free = gain_of(points, trained), gain_of(points, found_free)
    assert (of_trained.quality, of_trained.over_found) == (pytest.approx(19.0 - 11.0), pytest.approx(1.0))
    assert (of_free.quality, of_free.over_found) == (pytest.approx(20.0 - 12.0), None)
    assert gain_of(points_of(*BASELINES, trained), trained).over_found is None, "nothing free was found"


def test_a_dense_schedule_that_was_trained_is_not_free() -> None:
    trained = point(9, 5.0, 6.0, schedule=DensitySchedule.all_dense(4), steps=6)
    points = points_of(*BASELINES, trained)
    assert points.found_free == []
    assert [one.record.number for one in points.free] == [0, 2, 1, 3]


@pytest.mark.parametrize(("quality", "steps", "speedup"), [(35.0, None, None), (20.0, 4, 4 / 3), (9.0, 8, 8 / 3)])
def test_as_good_as_the_dense_base_at_steps_of_its_own_solver(
    quality: float, steps: int | None, speedup: float | None
) -> None:
    one = point(9, quality, 3.0, schedule=SPARSE, steps=8)
    found = gain_of(points_of(*BASELINES, one), one).to_dict()
    assert (found["as_good_as_dense_steps"], found["speedup_as_good"]) == (steps, speedup and pytest.approx(speedup))


def test_the_bias_of_few_images_decides_nothing_where_it_is_known() -> None:
    """At 2,000 images 19 is below the dense base's 20; of infinitely many it is 16 and the dense base's 15."""
    dense = replace(BASELINES[1], quality=20.0, at_infinity=15.0)
    other = replace(BASELINES[0], at_infinity=25.0)
    one = replace(point(9, 19.0, 3.0, schedule=SPARSE, steps=8), at_infinity=16.0)
    assert gain_of(points_of(dense, other, one), one).as_good_as == other


def test_the_free_front_is_what_no_other_free_baseline_beats() -> None:
    slow = point(7, 12.0, 8.5, baseline="FORA 2", steps=8, cache=Cache(full=0.5, reuse="modules"))
    points = points_of(*BASELINES, slow, point(9, 1.0, 1.0, schedule=SPARSE, steps=8))
    assert [one.record.number for one in points.free_front] == [0, 2, 1]
    assert [one.record.number for one in points.dense] == [0, 1]
