"""Say how much faster a point is than what is free, at equal quality: the one number of a trial, with its interval.

    speed-up = (latency at which the training-free front reaches the point's distance) / (the point's latency)

The training-free front is made of the free baselines that no other one beats: the dense base at fewer steps under the
best solver, shift and gain, and uniform reuse. Between two of its points that are neighbours it is a straight line in
the logarithms of distance and latency, in which such curves are nearly straight (in a distance itself where one is not
positive, as of an unbiased one). The distance is that of infinitely many images where `confirm` measured it: the bias
of few images flattens the front.

Beyond its ends the front is not extrapolated, so there is a bound alone:

- A point that is better than every free one is compared with the best of them: free sampling takes at least as long.
- A point that is worse than every free one, by more than noise, is compared with the fastest: free sampling that is as
  bad takes at most as long. Such a bound may tell that a point is slower, but never that it is faster. Within noise of
  the fastest it is as good, so the two are compared.

The interval holds 95 %. Quality: the front is read again at the distance plus and minus the noise of a difference to
the free point that is as good. Noise is paired: what all points share under a seed moves all alike. Where this leads
beyond the fastest point, its line goes on for the lower end alone: such curves get steeper, so that errs on the side of
what is free. Latency: both relative errors. The two are independent, and combined in logarithms on each side. Noise
that was not measured counts as none.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flexsearch.report.points import FrontPoint, Points, is_free

Bound = Literal["at least", "at most"]
Verdict = Literal["faster", "within noise", "slower"]


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """How many times as fast as free sampling of equal quality, and the 95 % interval.

    Attributes:
        value: the best estimate; of a bound, the bound.
        low: 0 where the value is at most that, or nothing can be told.
        high: infinity where it is at least that, or noise may have made it so.
        bound: the kind of bound that the value is; None where it is none.
        free_ms: latency per image of free sampling that is as good; of a bound, of the front's end.
    """

    value: float
    low: float
    high: float
    free_ms: float
    bound: Bound | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether it is a claim: none is whose interval holds 1."""
        if self.low > 1:
            return "faster"
        return "slower" if self.high < 1 else "within noise"

    @property
    def is_claim(self) -> bool:
        """Whether the point is faster beyond noise."""
        return self.verdict == "faster"

    @property
    def interval(self) -> str:
        """Print the interval; empty for a bound, which `__str__` prints by its safe end."""
        if self.bound is not None:
            return ""
        return f"{self.low:.2f} to {self.high:.2f}" if math.isfinite(self.high) else f"at least {self.low:.2f}"

    @property
    def symbol(self) -> str:
        """Print the value for a table: "=" within noise, a bound by its safe end."""
        if self.bound == "at most":
            return f"< {self.high:.2f}x"
        if self.verdict == "within noise":
            return "="
        return f"> {self.low:.2f}x" if self.bound else f"{self.value:.2f}x"

    def __str__(self) -> str:
        """Say value and interval in words."""
        if self.bound == "at least":
            return f"at least {self.low:.2f}x (95 %)"
        if self.bound == "at most":
            return f"at most {self.high:.2f}x (95 %)"
        return f"{self.value:.2f}x (95 %: {self.interval})"

    def to_dict(self) -> dict[str, float | str | None]:
        """Give JSON values; an end that is infinite is null."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high if math.isfinite(self.high) else None,
            "bound": self.bound,
            "verdict": self.verdict,
            "free_ms": self.free_ms,
        }


def speedup_of(points: Points, point: FrontPoint) -> Speedup | None:
    """Compare a point with the training-free front of its points.

    Returns:
        None for a free baseline, which is what others are compared with, and where there is none.
    """
    is_rival = point.record.baseline and is_free(point.record)
    return None if is_rival or not points.free_front else _beside(points.free_front, point)


def speedup_over_found(points: Points, point: FrontPoint) -> Speedup | None:
    """Compare a point that was trained with all that is free, found by the search or a baseline.

    Returns:
        None for what is free itself, and where the search found nothing free.
    """
    return None if is_free(point.record) or not points.found_free else _beside(points.all_free_front, point)


def _beside(free: list[FrontPoint], point: FrontPoint) -> Speedup:
    nearest = _around(free, point)[-1]
    noise = math.hypot(point.distance_half_width, nearest.distance_half_width)
    jitter = math.hypot(point.latency_half_width, nearest.latency_half_width)
    free_ms = _reached(free, point.distance)
    worse_ms, better_ms = _reached(free, point.distance + noise, goes_on=True), _reached(free, point.distance - noise)
    value = free_ms / point.latency_ms
    low = value * math.exp(-math.hypot(math.log(free_ms / worse_ms), jitter)) if worse_ms else 0.0
    high = value * math.exp(math.hypot(math.log(better_ms / free_ms), jitter))
    if point.distance - noise > free[0].distance:
        return Speedup(value=value, low=0.0, high=high, free_ms=free_ms, bound="at most")
    is_best = point.distance < free[-1].distance
    if point.distance - noise < free[-1].distance:
        high = math.inf
    return Speedup(value=value, low=low, high=high, free_ms=free_ms, bound="at least" if is_best else None)


def rivals(points: Points, point: FrontPoint) -> tuple[FrontPoint, ...]:
    """Find the free points that a point is compared with, fastest first: the two of the front around its distance, or
    the end beyond which it lies. The last is as good as it, if any is."""
    return _around(points.free_front, point)


def _around(free: list[FrontPoint], point: FrontPoint) -> tuple[FrontPoint, ...]:
    place = next((index for index, one in enumerate(free) if one.distance <= point.distance), len(free))
    return tuple(free[max(0, place - 1) : place + 1])


def _reached(free: list[FrontPoint], distance: float, *, goes_on: bool = False) -> float:
    """Interpolate the latency in ms at which the front reaches a distance; beyond its ends that of its end, or where
    the line of its fastest two points goes on: 0 where there is one alone."""
    if distance <= free[-1].distance:
        return free[-1].latency_ms
    scale = math.log if free[-1].distance > 0 else float
    levels, logs = [scale(one.distance) for one in free], [math.log(one.latency_ms) for one in free]
    if goes_on and distance > free[0].distance:
        if len(free) == 1:
            return 0.0
        slope = (logs[1] - logs[0]) / (levels[1] - levels[0])
        return math.exp(logs[0] + slope * (scale(distance) - levels[0]))
    return float(math.exp(np.interp(scale(distance), levels[::-1], logs[::-1])))


def claims_of(points: Points) -> list[tuple[FrontPoint, Speedup]]:
    """List the searched points of the front that are faster than what is free beyond noise, by the lower end of that,
    largest first."""
    found = [(one, speedup) for one in points.searched if (speedup := speedup_of(points, one)) is not None]
    return sorted((one for one in found if one[1].is_claim), key=lambda one: -one[1].low)
