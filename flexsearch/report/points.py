"""Hold the trials of a front as points under one protocol, and say how large a difference must be.

A value that was searched and one that was measured again have different protocols, so no `Points` mixes them.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from flexsearch.study.pareto import non_dominated
from flexsearch.study.store import TrialRecord

DIFFERENCE = 1.96 * math.sqrt(2)  # two values with independent errors: 95 % of differences that are only noise
NORMAL_QUARTILE = 0.6745  # half the interquartile range of a normal distribution, in standard deviations


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """A trial with its quality and latency (ms per image), both minimised."""

    record: TrialRecord
    quality: float
    latency_ms: float

    @property
    def objectives(self) -> tuple[float, float]:
        return self.quality, self.latency_ms


@dataclass(frozen=True, kw_only=True)
class Points:
    """Points of one protocol.

    Attributes:
        points: all of them, fastest first.
        is_confirmed: measured again.
        quality_margin: 95 % of differences of quality that are only paired noise are below it; None if not measured.
        latency_margin: the same of a latency, relative.
    """

    points: tuple[FrontPoint, ...]
    is_confirmed: bool
    quality_margin: float | None
    latency_margin: float | None

    @classmethod
    def of(
        cls,
        points: Iterable[FrontPoint],
        *,
        quality_sd: float | None,
        latency_sd: float | None,
        is_confirmed: bool = False,
    ) -> "Points":
        """Sort points; `quality_sd` is of one value without what all share, `latency_sd` relative; None is unknown."""
        return cls(
            points=tuple(sorted(points, key=lambda one: (one.latency_ms, one.quality, one.record.number))),
            is_confirmed=is_confirmed,
            quality_margin=None if quality_sd is None else DIFFERENCE * quality_sd,
            latency_margin=None if latency_sd is None else DIFFERENCE * latency_sd,
        )

    @cached_property
    def best(self) -> list[FrontPoint]:
        """The non-dominated points, fastest first."""
        return non_dominated(self.points, lambda one: one.objectives)

    @property
    def searched(self) -> list[FrontPoint]:
        """The non-dominated points that are no baselines, fastest first."""
        return [one for one in self.best if one.record.baseline is None]

    @cached_property
    def dense(self) -> list[FrontPoint]:
        """The dense base under each sampling that was tried, fastest first."""
        return [one for one in self.points if one.record.baseline and one.record.candidate.schedule.is_dense]

    @cached_property
    def by_number(self) -> Mapping[int, FrontPoint]:
        return {one.record.number: one for one in self.points}
