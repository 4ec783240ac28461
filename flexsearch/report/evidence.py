"""What is known best of a front's trials: the confirmation where there is one, and how large a difference must be.

A value that was searched and one that was measured again have different protocols, so they are never compared: where
there is a confirmation, only what takes part in it is looked at.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import moocore
import numpy as np

from flexsearch.report.front import Front
from flexsearch.study.store import TrialRecord

DIFFERENCE = 1.96 * math.sqrt(2)  # two values with independent errors: 95 % of differences that are only noise
NORMAL_QUARTILE = 0.6745  # half the interquartile range of a normal distribution, in standard deviations


@dataclass(frozen=True, kw_only=True)
class FrontPoint:
    """One trial with the best evidence of it: quality and latency (ms per image), both minimised."""

    record: TrialRecord
    quality: float
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Trials under one protocol.

    Attributes:
        known: all of them, fastest first.
        is_confirmed: measured again.
        quality_margin: 95 % of differences of quality that are only paired noise are below it; None if not measured.
        latency_margin: the same of a latency, relative.
    """

    known: tuple[FrontPoint, ...]
    is_confirmed: bool
    quality_margin: float | None
    latency_margin: float | None

    @property
    def best(self) -> tuple[FrontPoint, ...]:
        """The non-dominated ones, fastest first."""
        return non_dominated(self.known)

    @property
    def by_number(self) -> Mapping[int, FrontPoint]:
        return {one.record.number: one for one in self.known}

    @property
    def dense(self) -> list[FrontPoint]:
        """The dense base over sampler steps, fastest first."""
        return [one for one in self.known if one.record.baseline is not None and one.record.candidate.schedule.is_dense]


def non_dominated(known: Sequence[FrontPoint]) -> tuple[FrontPoint, ...]:
    """Those that no other beats in both objectives, in their order."""
    if not known:
        return ()
    table = np.array([[one.quality, one.latency_ms] for one in known])
    return tuple(one for one, good in zip(known, moocore.is_nondominated(table), strict=True) if good)


def evidence_of(front: Front, *, only_searched: bool = False) -> Evidence:
    """The confirmation's values where there are any, else, or if only these are asked for, the searched ones."""
    found = None if only_searched else front.confirmation
    if found is not None:
        known = [
            FrontPoint(
                record=record,
                quality=found.points[record.number].quality.value,
                latency_ms=found.points[record.number].latency.value,
            )
            for record in front.confirmed
        ]
        quality = found.paired_noise / math.sqrt(len(found.seeds))
        latency: float | None = found.latency_noise / math.sqrt(len(found.seeds))
    else:
        known = [
            FrontPoint(record=record, quality=front.values(record)[0], latency_ms=front.values(record)[-1])
            for record in front.complete.values()
        ]
        spread = front.latency_spread
        latency = None if spread is None else spread / NORMAL_QUARTILE
        quality = math.nan if front.noise is None else front.noise.paired
    return Evidence(
        known=tuple(sorted(known, key=lambda one: (one.latency_ms, one.quality, one.record.number))),
        is_confirmed=found is not None,
        quality_margin=None if math.isnan(quality) else DIFFERENCE * quality,
        latency_margin=None if latency is None else DIFFERENCE * latency,
    )
