"""Say in a few words what a run found, for the titles of its page and its picture."""

from dataclasses import dataclass

from flexsearch.report.front import Front
from flexsearch.report.gain import gain_of, headline
from flexsearch.report.points import FrontPoint, is_free


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A point that is faster than what is free, at equal quality.

    Attributes:
        point: with the values that are known best.
        value: how many times as fast.
        low, high: its 95 % interval; None where it is unknown.
    """

    point: FrontPoint
    value: float
    low: float | None
    high: float | None

    @property
    def speedup(self) -> str:
        return f"{self.value:.2f}x"

    @property
    def interval(self) -> str:
        """The interval in words, or nothing."""
        return "" if self.low is None or self.high is None else f"{self.low:.2f}x to {self.high:.2f}x"

    @property
    def title(self) -> str:
        training = ", nothing trained" if is_free(self.point.record) else ""
        return f"{self.speedup} as fast at equal quality{training}"


def claim_of(front: Front) -> Claim | None:
    """Give the claim of the headline; None where nothing found is faster at equal quality."""
    _, found = headline(front.best_known, quality=front.objectives[0].name)
    return None if found is None else speedup_of(front, found.point)


def speedup_of(front: Front, point: FrontPoint) -> Claim | None:
    """Give how much faster a point is at equal quality; None where that is unknown, or it is not."""
    value = gain_of(front.best_known, point).speedup_as_good
    return None if value is None or value <= 1 else Claim(point=point, value=value, low=None, high=None)
