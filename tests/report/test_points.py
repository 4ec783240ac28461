"""Noise of latencies does not decide which of several equally fast baselines is a rival."""

from dataclasses import replace

import pytest
from builders import trial_record

from flexsearch.measurement import Measurement
from flexsearch.report.points import FrontPoint, Points, at_equal_work


def point(number: int, quality: float, latency_ms: float, *, macs: float) -> FrontPoint:
    """A free baseline."""
    record = trial_record(number, quality, steps=2, is_dense=True)
    measured = {**record.measurements, "macs": Measurement(name="macs", value=macs, unit="MACs/image")}
    return FrontPoint(record=replace(record, measurements=measured), quality=quality, latency_ms=latency_ms)


WORSE, BETTER, SLOWER = (
    point(0, 18.0, 4.8, macs=2e6),
    point(1, 13.0, 4.9, macs=2e6),
    point(2, 8.0, 7.2, macs=3e6),
)


def test_points_of_equal_work_have_one_latency() -> None:
    pooled = at_equal_work([SLOWER, BETTER, WORSE])
    assert [one.record.number for one in pooled] == [1, 0, 2], "fastest first, the better of two before the other"
    assert [one.latency_ms for one in pooled] == pytest.approx([4.85, 4.85, 7.2])


def test_a_worse_baseline_that_noise_made_faster_is_not_on_the_training_free_front() -> None:
    points = Points.of([WORSE, BETTER, SLOWER], quality_sd=None, latency_sd=None)
    assert [one.record.number for one in points.best] == [0, 1, 2], "as measured, it is"
    assert [one.record.number for one in points.free_front] == [1, 2]
    assert [one.record.number for one in points.all_free_front] == [1, 2]
    assert points.free_reach.at(4.85) == 13.0
