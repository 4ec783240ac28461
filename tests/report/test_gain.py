"""The dense base beside a point: interpolated at equal latency, at equal sampling, and never across samplings."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_run import LATENCY, QUALITY, tiny_store, trial_record

from flexsearch.report.front import front_of
from flexsearch.report.gain import gain_of, largest_gain
from flexsearch.report.points import FrontPoint, Points
from flexsearch.report.table import summary_lines
from flexsearch.schedule.sampling import Sampling

DENSE = [(10.0, 20.0, 10), (15.0, 10.0, 5), (25.0, 5.0, 3)]


def test_comparison_with_the_dense_base(tmp_path: Path) -> None:
    """At 7.5 ms the dense base is at 20 between 5 and 3 steps; at 10 steps it takes 20 ms."""
    front = front_of(tiny_store(tmp_path, [(12.0, 7.5), (40.0, 2.0)], dense=DENSE), (QUALITY, LATENCY))
    assert [front.values(record)[1] for record in front.dense] == [5.0, 10.0, 20.0]
    points = front.as_searched
    good, fast, slow = (gain_of(points, points.by_number[number]) for number in (3, 4, 0))
    assert good.speedup == pytest.approx(20 / 7.5)
    assert good.quality == pytest.approx(20.0 - 12.0)
    assert (fast.quality, fast.dense_quality) == (None, None)
    assert (slow.speedup, slow.quality) == (1.0, 0.0)
    assert largest_gain(points) == good
    assert any(
        line.startswith("Largest gain: Trial 3 is 2.67x as fast") and "20 (8 worse)" in line
        for line in summary_lines(front)
    )


@dataclass(frozen=True, kw_only=True)
class WithSolver(Sampling):
    """A sampling with more than steps."""

    solver: str


def test_the_dense_base_is_told_apart_by_its_whole_sampling() -> None:
    """Two solvers at equal steps are two curves; the better one counts at equal latency."""
    rows = [("a", 4, 30.0, 4.0), ("a", 8, 10.0, 8.0), ("b", 4, 20.0, 5.0), ("b", 8, 16.0, 9.0)]
    points = [
        FrontPoint(
            record=trial_record(number, quality, ms, sampling=WithSolver(steps=steps, solver=solver), baseline="dense"),
            quality=quality,
            latency_ms=ms,
        )
        for number, (solver, steps, quality, ms) in enumerate(rows)
    ]
    for solver, expected in (("a", 8.0), ("b", 9.0)):
        record = trial_record(9, 5.0, 6.0, sampling=WithSolver(steps=8, solver=solver))
        one = FrontPoint(record=record, quality=5.0, latency_ms=6.0)
        found = gain_of(Points.of([*points, one], quality_sd=None, latency_sd=None), one)
        assert found.speedup == pytest.approx(expected / 6.0)
        assert found.dense_quality == pytest.approx(19.0), "20 of a between its two points, 19 of b"
