"""Say what a quality budget buys: the fastest point, searched or free, whose distance is within so many times the dense
base's.

Points are those that were measured: nothing is interpolated. A ratio of two distances needs distances without the bias
of few images, which only a confirmation gives: of 500 images "1.25 times the dense base's" may be 1.5 times in truth.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flexsearch.report.points import FrontPoint, Points

FACTORS = (1.25, 1.5, 2.0, 3.0)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """One row of the table.

    Attributes:
        factor: the distance may grow to so many times the dense base's.
        base: the dense base at the most steps of its own solver.
        searched: the fastest searched point within the budget; None if there is none.
        free: the fastest of the free baselines within it; the base itself is one.
    """

    factor: float
    base: FrontPoint
    searched: FrontPoint | None
    free: FrontPoint

    def speed(self, point: FrontPoint) -> float:
        """Tell how many times as fast as the dense base."""
        return self.base.latency_ms / point.latency_ms

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values."""
        return {
            "factor": self.factor,
            "distance": self.factor * self.base.distance,
            **{
                name: None
                if point is None
                else {"trial": point.record.number, "latency_ms": point.latency_ms, "speed": self.speed(point)}
                for name, point in (("searched", self.searched), ("free", self.free))
            },
        }

    @property
    def printed(self) -> dict[str, str]:
        """Every value as text."""
        return {
            "budget": f"{self.factor:g}x",
            "searched": "none" if self.searched is None else self._told(self.searched),
            "free": self._told(self.free),
        }

    def _told(self, point: FrontPoint) -> str:
        return f"{self.speed(point):.2f}x (trial {point.record.number})"


def budgets_of(points: Points) -> list[Budget]:
    """Make the table, smallest budget first; empty without a dense base, or where its distance is not positive."""
    base = points.dense[-1] if points.dense else None
    if base is None or base.distance <= 0:
        return []
    found = []
    for factor in FACTORS:
        limit = factor * base.distance
        free = _fastest(points.free, limit)
        assert free is not None, "the base is within its own budget"
        searched = _fastest((one for one in points.points if one.record.baseline is None), limit)
        found.append(Budget(factor=factor, base=base, searched=searched, free=free))
    return found


def _fastest(points: Iterable[FrontPoint], limit: float) -> FrontPoint | None:
    """Find the first within a limit of points that are ordered, fastest first."""
    return next((one for one in points if one.distance <= limit), None)
