"""Compare a point with the dense base: how much faster it is under the same sampling, how much better at its latency.

The dense base under cheaper sampling needs no search, so what counts is the gain over it at equal latency.
"""

from dataclasses import dataclass, replace

import numpy as np

from flexsearch.report.points import FrontPoint, Points
from flexsearch.schedule.sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class Gain:
    """A point beside the dense base.

    Attributes:
        point: what is compared.
        speedup: latency of the dense base under the same sampling over the point's; None if that was not measured.
        dense_quality: of the dense base at the point's latency; None where no sampling is as fast.
    """

    point: FrontPoint
    speedup: float | None
    dense_quality: float | None

    @property
    def quality(self) -> float | None:
        """How much lower the point's quality is than the dense base's at its latency: positive is better."""
        return None if self.dense_quality is None else self.dense_quality - self.point.quality


def gain_of(points: Points, point: FrontPoint) -> Gain:
    """Compare a point with the dense base among the points.

    The dense base's quality at a latency is interpolated between samplings that differ in their steps alone. Of several
    such curves, the best counts; beyond its slowest point a curve stays as it is there.
    """
    dense = {one.record.candidate.sampling: one for one in points.dense}
    same = dense.get(point.record.candidate.sampling)
    curves: dict[Sampling, list[FrontPoint]] = {}
    for sampling, one in dense.items():
        curves.setdefault(replace(sampling, steps=1), []).append(one)
    reached = [
        float(np.interp(point.latency_ms, [one.latency_ms for one in curve], [one.quality for one in curve]))
        for curve in curves.values()
        if curve[0].latency_ms <= point.latency_ms
    ]
    return Gain(
        point=point,
        speedup=None if same is None else same.latency_ms / point.latency_ms,
        dense_quality=min(reached, default=None),
    )


def largest_gain(points: Points) -> Gain | None:
    """Find the searched point that is most ahead of the dense base at its latency; None where none can be compared."""
    gains = [(found.quality, found) for one in points.searched if (found := gain_of(points, one)).quality is not None]
    return max(gains, key=lambda one: one[0] or 0.0)[1] if gains else None


def sentence(gain: Gain, quality: str) -> str:
    """Say what a searched point reaches, beside the dense base."""
    point, steps = gain.point, gain.point.record.candidate.sampling.steps
    faster = (
        "" if gain.speedup is None else f"is {gain.speedup:.2f}x as fast as the dense base at its {steps} steps and "
    )
    if gain.quality is None:
        end = "the dense base is not as fast at any number of steps"
    else:
        side = "worse" if gain.quality > 0 else "better"
        end = f"fewer dense steps of equal latency reach {gain.dense_quality:.4g} ({abs(gain.quality):.3g} {side})"
    return (
        f"Trial {point.record.number} {faster}reaches {quality} {point.quality:.4g} at {point.latency_ms:.3g} ms per "
        f"image, where {end}."
    )


def headline(points: Points, *, quality: str) -> tuple[str, Gain | None]:
    """Say the one claim that the points support, in a sentence, and what it is about; None where nothing was found.

    It is the largest gain; one within noise is none. Where all that was searched is faster than the dense base under
    any sampling, it is the best of it with its speed-up.
    """
    if not points.searched:
        return "No searched schedule is on the front: the baselines are as good and as fast.", None
    found = largest_gain(points) or gain_of(points, points.searched[-1])
    if found.quality is not None and found.quality <= (points.quality_margin or 0.0):
        return "No searched schedule is ahead of fewer dense steps by more than noise.", None
    return sentence(found, quality), found
