"""Compare a point with what is free at equal latency, and with the dense base at equal steps, for files and programs.

What is claimed is the speed-up at equal quality (`speedup.py`). These are differences of a distance, whose unit says
little, and speeds at unequal quality.
"""

from dataclasses import dataclass

from flexsearch.report.points import FrontPoint, Points, is_free


@dataclass(frozen=True, kw_only=True)
class Gain:
    """A point beside what is free.

    Attributes:
        point: what is compared.
        speedup: latency of the dense base at the same sampler steps, under its own solver and with nothing reused, over
            the point's; None if that was not measured.
        free_quality: of the free baselines at the point's latency; None where none is as fast.
        rival: the best free baseline that is at most as slow; None where there is none.
        found_quality: of all that is free, found by the search or a baseline, at the latency of a point that was
            trained; None of others, and where the search found nothing free.
        as_good_as: the best of the dense base under its own solver, over its steps, whose quality the point reaches;
            None if it reaches none.
    """

    point: FrontPoint
    speedup: float | None
    free_quality: float | None
    rival: FrontPoint | None
    found_quality: float | None
    as_good_as: FrontPoint | None

    @property
    def quality(self) -> float | None:
        """How much lower the point's quality is than the free baselines' at its latency: positive is better."""
        return None if self.free_quality is None else self.free_quality - self.point.quality

    @property
    def over_found(self) -> float | None:
        """How much lower it is than that of all that is free, what the search found included."""
        return None if self.found_quality is None else self.found_quality - self.point.quality

    @property
    def speedup_as_good(self) -> float | None:
        """Latency of `as_good_as` over the point's."""
        return None if self.as_good_as is None else self.as_good_as.latency_ms / self.point.latency_ms

    def to_dict(self) -> dict[str, float | None]:
        """Give JSON values."""
        return {
            "over_free_baselines": self.quality,
            "over_all_free": self.over_found,
            "speedup_at_same_steps": self.speedup,
            "as_good_as_dense_steps": None if self.as_good_as is None else _steps(self.as_good_as),
            "speedup_as_good": self.speedup_as_good,
        }


def gain_of(points: Points, point: FrontPoint) -> Gain:
    """Compare a point with what is free among the points.

    A point is as good as the dense base at some steps if its distance is no higher. Gains are differences, which the
    bias of few images hardly changes.
    """
    same = next((one for one in points.dense if _steps(one) == _steps(point)), None)
    as_fast = [one for one in points.free if one.latency_ms <= point.latency_ms]
    is_compared = bool(points.found_free) and not is_free(point.record)
    no_better = [one for one in points.dense if point.distance <= one.distance]
    return Gain(
        point=point,
        speedup=None if same is None else same.latency_ms / point.latency_ms,
        free_quality=points.free_reach.at(point.latency_ms),
        rival=min(as_fast, key=lambda one: one.quality, default=None),
        found_quality=points.found_free_reach.at(point.latency_ms) if is_compared else None,
        as_good_as=min(no_better, key=lambda one: one.objectives, default=None),
    )


def _steps(point: FrontPoint) -> int:
    return point.record.candidate.sampling.steps
