"""How far the ranking of a run can be trusted: how trials rank early and late, and after short and long fine-tunes.

Kendall's tau over the pairs of trials with equal sampler steps: over all pairs it would mostly say that more steps are
better, which nobody doubts. 1 is the same order, 0 is none, -1 is the reverse.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from flexsearch.study.predicted_distance import predicted_distances
from flexsearch.study.store import TrialRecord

PREDICTED_DISTANCE = "outlook"
LEAST_PAIRS = 10
"""Pairs below which nothing is said: the tau of three pairs is one of four values."""


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Agreement of two rankings of the same trials.

    Attributes:
        by: what the earlier ranking is by: the quality, or "outlook".
        earlier: own updates of that ranking.
        later_by: what the later ranking is by.
        later: own updates of that ranking.
        tau: Kendall's, over comparable pairs.
        num_pairs: pairs with equal sampler steps and no tie.
    """

    by: str
    earlier: int
    later_by: str
    later: int
    tau: float
    num_pairs: int


@dataclass(frozen=True, kw_only=True)
class _Ranking:
    """What trials are ranked by after some own updates, by number."""

    by: str
    updates: int
    values: Mapping[int, float]


def rank_correlations(records: Sequence[TrialRecord], *, objective: str) -> list[RankCorrelation]:
    """Between every rung and the end of a fine-tune, by quality and by outlook; and between its end, by both, and the
    quality after longer ones.

    Args:
        records: the trials; those that were not fine-tuned are left out.
        objective: the quality that rungs measure.
    """
    end = max((record.num_updates for record in records), default=0)
    ended = [record for record in records if record.num_updates and record.state == "complete"]
    final = {record.number: record.measurements[objective].value for record in ended}
    at_end = [
        _Ranking(by=objective, updates=end, values=final),
        _Ranking(by=PREDICTED_DISTANCE, updates=end, values=predicted_distances(records, quality=objective)),
    ]
    steps = {record.number: record.candidate.sampling.steps for record in records}
    found = []
    for updates in sorted({rung.updates for record in records for rung in record.rungs}):
        qualities = {record.number: rung.quality for record in records if (rung := record.rung(updates)) is not None}
        quality = _Ranking(by=objective, updates=updates, values=qualities)
        predicted_distance = predicted_distances(records, quality=objective, updates=updates)
        at_rung = [quality, _Ranking(by=PREDICTED_DISTANCE, updates=updates, values=predicted_distance)]
        compared = [(short, quality) for short in at_end] if updates > end else zip(at_rung, at_end, strict=True)
        found += [_correlation(earlier, later, steps) for earlier, later in compared]
    return [one for one in found if one is not None]


def _correlation(earlier: _Ranking, later: _Ranking, steps: Mapping[int, int]) -> RankCorrelation | None:
    """Gives None where too few pairs can be compared."""
    pairs = list(_agreements(earlier.values, later.values, steps))
    if len(pairs) < LEAST_PAIRS:
        return None
    return RankCorrelation(
        by=earlier.by,
        earlier=earlier.updates,
        later_by=later.by,
        later=later.updates,
        tau=sum(pairs) / len(pairs),
        num_pairs=len(pairs),
    )


def _agreements(a: Mapping[int, float], b: Mapping[int, float], steps: Mapping[int, int]) -> Iterator[int]:
    """1 for every comparable pair in the same order, -1 for every one in the other order."""
    for i, j in combinations(sorted(set(a) & set(b)), 2):
        product = (a[i] - a[j]) * (b[i] - b[j])
        if steps[i] == steps[j] and product:
            yield 1 if product > 0 else -1
