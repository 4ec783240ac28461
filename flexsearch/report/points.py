"""Hold the trials of a front as points under one protocol, and say how large a difference must be.

A value that was searched and one that was measured again have different protocols, so no `Points` mixes them.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from statistics import median

import numpy as np

from flexsearch.report.student import half_width
from flexsearch.schedule.sampling import Sampling
from flexsearch.study.baselines import is_fine_tuned
from flexsearch.study.pareto import non_dominated
from flexsearch.study.store import TrialRecord

DIFFERENCE = 1.96 * math.sqrt(2)  # two values with independent errors: 95 % of differences that are only noise
NORMAL_QUARTILE = 0.6745  # half the interquartile range of a normal distribution, in standard deviations


def is_free(record: TrialRecord) -> bool:
    """Tell whether a trial is the dense base itself, sampled in some way: nothing of it was trained."""
    return record.candidate.schedule.is_dense and not (record.num_updates or is_fine_tuned(record.baseline))


def is_plain(record: TrialRecord) -> bool:
    """Tell whether a trial is the dense base as it comes, sampled by its own solver in so many steps."""
    sampling = record.candidate.sampling
    return is_free(record) and sampling == Sampling(steps=sampling.steps)


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """A trial with what is minimised.

    Attributes:
        record: the trial.
        quality: of the number of images that it was measured with.
        latency_ms: per image.
        at_infinity: the quality, extrapolated to infinitely many images; None where that was not measured.
        distance_sd: of `distance`, without what all points share; None if it was not measured.
        distance_freedom: degrees of freedom from which that was estimated.
        latency_sd: of the latency, relative; None if it was not measured.
    """

    record: TrialRecord
    quality: float
    latency_ms: float
    at_infinity: float | None = None
    distance_sd: float | None = None
    distance_freedom: float = math.inf
    latency_sd: float | None = None

    @property
    def distance(self) -> float:
        """The quality without the bias of few images where it is known: what equal qualities and ratios are told by."""
        return self.quality if self.at_infinity is None else self.at_infinity

    @property
    def objectives(self) -> tuple[float, float]:
        return self.distance, self.latency_ms

    @property
    def distance_half_width(self) -> float:
        """Half of the 95 % interval of the distance, without what all points share; 0 if that was not measured."""
        return half_width(self.distance_sd or 0.0, self.distance_freedom)

    @property
    def latency_half_width(self) -> float:
        """The same of the latency, relative."""
        return half_width(self.latency_sd or 0.0, math.inf)


def at_equal_work(points: Iterable[FrontPoint]) -> list[FrontPoint]:
    """Give points of the dense base that multiply and accumulate as much one latency, their median; fastest first.

    They differ in solver, shift or gain, which take no time that could be measured. So their latencies differ by noise,
    and by noise a worse one must not come onto the training-free front, where it would be an easy rival.
    """
    alike: dict[float, list[float]] = {}
    listed = list(points)
    for one in listed:
        alike.setdefault(one.record.measurements["macs"].value, []).append(one.latency_ms)
    pooled = [replace(one, latency_ms=median(alike[one.record.measurements["macs"].value])) for one in listed]
    return sorted(pooled, key=lambda one: (one.latency_ms, one.quality, one.record.number))


class Reach:
    """The quality that points reach at a latency.

    It is the better of two values. One is what can be had: the best point that is at most as slow, which an expert
    would take. The other is linear between two measured points that differ in their steps alone: there is nothing
    between n and n + 1 steps, but where just these latencies lie says nothing of a method, so a gain must not come from
    a gap between them. No curve goes on beyond its ends. The best of many noisy points looks better than it is, so both
    err on the side of what is free.

    Args:
        points: fastest first.
    """

    def __init__(self, points: Sequence[FrontPoint]) -> None:
        self._latencies = [one.latency_ms for one in points]
        self._best = list(accumulate((one.quality for one in points), min))
        curves: dict[Sampling, list[FrontPoint]] = {}
        for one in points:
            curves.setdefault(replace(one.record.candidate.sampling, steps=1), []).append(one)
        self._curves = [np.array([one.objectives[::-1] for one in curve]) for curve in curves.values()]

    def at(self, latency_ms: float) -> float | None:
        """Give the quality; None where no point is as fast."""
        num = bisect_right(self._latencies, latency_ms)
        reached = self._best[num - 1 : num] if num else []
        for curve in self._curves:
            if curve[0, 0] <= latency_ms <= curve[-1, 0]:
                reached.append(float(np.interp(latency_ms, *curve.T)))
        return min(reached, default=None)


@dataclass(frozen=True, kw_only=True)
class Points:
    """Points of one protocol.

    Attributes:
        points: all of them, fastest first.
        is_confirmed: measured again.
        quality_sd: of one quality, without what all share; None if it was not measured.
        quality_freedom: degrees of freedom from which that was estimated.
        latency_sd: of one latency, relative; None if it was not measured.
    """

    points: tuple[FrontPoint, ...]
    is_confirmed: bool
    quality_sd: float | None
    quality_freedom: float
    latency_sd: float | None

    @classmethod
    def of(
        cls,
        points: Iterable[FrontPoint],
        *,
        quality_sd: float | None,
        quality_freedom: float = math.inf,
        latency_sd: float | None,
        is_confirmed: bool = False,
    ) -> "Points":
        """Sort points."""
        return cls(
            points=tuple(sorted(points, key=lambda one: (one.latency_ms, one.quality, one.record.number))),
            is_confirmed=is_confirmed,
            quality_sd=quality_sd,
            quality_freedom=quality_freedom,
            latency_sd=latency_sd,
        )

    @property
    def quality_margin(self) -> float | None:
        """95 % of differences of quality that are only paired noise are below it; None if noise was not measured."""
        return None if self.quality_sd is None else math.sqrt(2) * half_width(self.quality_sd, self.quality_freedom)

    @property
    def latency_margin(self) -> float | None:
        """The same of a latency, relative."""
        return None if self.latency_sd is None else DIFFERENCE * self.latency_sd

    @cached_property
    def best(self) -> list[FrontPoint]:
        """The non-dominated points, fastest first."""
        return non_dominated(self.points, lambda one: one.objectives)

    @property
    def searched(self) -> list[FrontPoint]:
        """The non-dominated points that are no baselines, fastest first."""
        return [one for one in self.best if one.record.baseline is None]

    @cached_property
    def free(self) -> list[FrontPoint]:
        """The baselines that need no training, fastest first."""
        return [one for one in self.points if one.record.baseline and is_free(one.record)]

    @cached_property
    def free_front(self) -> list[FrontPoint]:
        """The non-dominated ones of them, by distance and latency, fastest first: the training-free front."""
        return non_dominated(at_equal_work(self.free), lambda one: one.objectives)

    @cached_property
    def all_free_front(self) -> list[FrontPoint]:
        """The same of all that is free, found by the search or a baseline."""
        return non_dominated(at_equal_work((*self.free, *self.found_free)), lambda one: one.objectives)

    @cached_property
    def found_free(self) -> list[FrontPoint]:
        """The searched points that need no training, fastest first."""
        return [one for one in self.points if not one.record.baseline and is_free(one.record)]

    @cached_property
    def free_reach(self) -> Reach:
        """What the free baselines reach."""
        return Reach(at_equal_work(self.free))

    @cached_property
    def found_free_reach(self) -> Reach:
        """What all that is free reaches, found by the search or a baseline."""
        return Reach(at_equal_work((*self.free, *self.found_free)))

    @cached_property
    def dense(self) -> list[FrontPoint]:
        """The baselines that are the dense base at some number of steps of its own solver, fastest first."""
        return [one for one in self.free if is_plain(one.record)]

    @cached_property
    def by_number(self) -> Mapping[int, FrontPoint]:
        return {one.record.number: one for one in self.points}
