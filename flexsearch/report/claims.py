"""What a front says about the schedules that were searched, in numbers that a reader can check."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flexsearch.report.front import Front
from flexsearch.study.store import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A searched schedule beside the dense base.

    Attributes:
        record: the trial.
        speedup: latency of the dense base at the same sampler steps over the schedule's; None if it was not measured.
        gain: quality of the dense base at fewer steps and equal latency, minus the schedule's: positive is better than
            fewer steps. Interpolated between the dense baselines; None outside of their range on the fast side.
    """

    record: TrialRecord
    speedup: float | None
    gain: float | None


def dense_curve(front: Front) -> list[TrialRecord]:
    """The dense base over sampler steps, fastest first."""
    dense = [record for record in front.baselines if record.candidate.schedule.is_dense]
    return sorted(dense, key=lambda record: front.values(record)[-1])


def compare(front: Front, record: TrialRecord) -> Comparison:
    """A trial of the front against the dense curve."""
    quality, latency = front.values(record)
    curve = dense_curve(front)
    steps = record.candidate.sampling.steps
    same = next((dense for dense in curve if dense.candidate.sampling.steps == steps), None)
    fewer = quality_at([(q, ms) for q, ms in map(front.values, curve)], latency)
    gain = None if fewer is None else fewer - quality
    return Comparison(record=record, speedup=None if same is None else front.values(same)[-1] / latency, gain=gain)


def quality_at(curve: Sequence[tuple[float, float]], latency: float) -> float | None:
    """The quality of a curve at a latency, between its points; None on the fast side of them all.

    Args:
        curve: (quality, latency) of points, fastest first.
        latency: in the unit of the curve's. Beyond the slowest point the quality stays.
    """
    if not curve or latency < curve[0][1]:
        return None
    qualities, latencies = zip(*curve, strict=True)
    return float(np.interp(latency, latencies, qualities))


def largest_gain(front: Front) -> Comparison | None:
    """The searched schedule of the front that is most ahead of the dense base at fewer steps and equal latency."""
    compared = [compare(front, record) for record in front.points if record.baseline is None]
    return max((one for one in compared if one.gain is not None), key=lambda one: one.gain or 0.0, default=None)
