"""Compare a point with what is free: how much better it is at its latency than anything that needs no training.

An expert has the dense base under a better solver, with residuals reused or a gain, without any search. So what counts
is the gain over the best of all such baselines. How much faster a point is than the dense base at as many steps of its
own solver, or at the steps whose quality it reaches, is said beside it.
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

    A point is as good as the dense base at some steps if its quality is no higher: without the bias of few images where
    `confirm` measured that, else both of equally many images. Gains are differences, which the bias hardly changes; a
    ratio of two qualities would be another one without it, so none is given.
    """
    same = next((one for one in points.dense if _steps(one) == _steps(point)), None)
    as_fast = [one for one in points.free if one.latency_ms <= point.latency_ms]
    is_compared = bool(points.found_free) and not is_free(point.record)
    no_better = [one for one in points.dense if _is_as_good(point, one)]
    return Gain(
        point=point,
        speedup=None if same is None else same.latency_ms / point.latency_ms,
        free_quality=points.free_reach.at(point.latency_ms),
        rival=min(as_fast, key=lambda one: one.quality, default=None),
        found_quality=points.found_free_reach.at(point.latency_ms) if is_compared else None,
        as_good_as=min(no_better, key=lambda one: one.objectives, default=None),
    )


def _is_as_good(point: FrontPoint, other: FrontPoint) -> bool:
    if point.at_infinity is not None and other.at_infinity is not None:
        return point.at_infinity <= other.at_infinity
    return point.quality <= other.quality


def _steps(point: FrontPoint) -> int:
    return point.record.candidate.sampling.steps


def largest_gain(points: Points) -> Gain | None:
    """Find the searched point that is most ahead of the free baselines; None where none can be compared."""
    gains = [(found.quality, found) for one in points.searched if (found := gain_of(points, one)).quality is not None]
    return max(gains, key=lambda one: one[0] or 0.0)[1] if gains else None


def sentence(gain: Gain, quality: str) -> str:
    """Say what a point reaches, beside what is free and beside the dense base's own sampling."""
    point, record = gain.point, gain.point.record
    free = ", with nothing trained," if is_free(record) else ""
    said = f"Trial {record.number}{free} reaches {quality} {point.quality:.4g} at {point.latency_ms:.3g} ms per image"
    if gain.quality is None:
        said += ", where no free baseline is as fast"
    else:
        said += f", where the best free baseline reaches {_beside(gain.free_quality, gain.quality)}"
    if gain.over_found is not None:
        said += f" and the best free point of the search {_beside(gain.found_quality, gain.over_found)}"
    return f"{said}.{_beside_the_base(gain)}"


def _beside(value: float | None, gain: float) -> str:
    return f"{value:.4g} ({abs(gain):.3g} {'worse' if gain > 0 else 'better'})"


def _beside_the_base(gain: Gain) -> str:
    """Say how much faster it is than the dense base at the steps whose quality it reaches, or else at equal steps."""
    if gain.as_good_as is not None and (gain.speedup_as_good or 0.0) > 1:
        base = f"the dense base at {_steps(gain.as_good_as)} steps of its own solver"
        it = "It" if gain.point.at_infinity is None else "Of infinitely many images, it"
        return f" {it} is as good as {base} and {gain.speedup_as_good:.2f}x as fast."
    if gain.speedup is not None:
        return f" It is {gain.speedup:.2f}x as fast as the dense base at its {_steps(gain.point)} steps."
    return ""


def headline(points: Points, *, quality: str) -> tuple[str, Gain | None]:
    """Say the one claim that the points support, in a sentence, and what it is about; None where nothing was found.

    It is the largest gain over the free baselines, if that is above twice the paired noise. Where all that was searched
    is faster than any free baseline, it is the best of it with its speed-up.
    """
    if not points.searched:
        return "No searched point is on the front: the baselines are as good and as fast.", None
    found = largest_gain(points) or gain_of(points, points.searched[-1])
    if found.quality is not None and found.quality <= points.least_claim:
        return "No searched point is ahead of the free baselines by more than twice the noise.", None
    return sentence(found, quality), found
