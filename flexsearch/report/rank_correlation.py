"""Measure how far a ranking can be trusted: how trials rank early and late, after short and long fine-tunes.

Kendall's tau over the pairs of trials with equal sampler steps: over all pairs it would mostly say that more steps are
better, which nobody doubts. 1 is the same order, 0 is none, -1 is the reverse.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from flexsearch.study.predicted_distance import predicted_distances
from flexsearch.study.store import TrialRecord

PREDICTED_DISTANCE = "predicted_distance"
LEAST_PAIRS = 10
"""Pairs below which nothing is said: the tau of three pairs is one of four values."""


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Agreement of two rankings of the same trials.

    Attributes:
        by: what the earlier ranking is by: the quality, or "predicted_distance".
        earlier: fine-tuning updates of that ranking.
        later_by: what the later ranking is by.
        later: fine-tuning updates of that ranking.
        tau: Kendall's, over comparable pairs.
        num_pairs: pairs with equal sampler steps and no tie.
    """

    by: str
    earlier: int
    later_by: str
    later: int
    tau: float
    num_pairs: int


def rank_correlations(records: Sequence[TrialRecord], *, objective: str) -> list[RankCorrelation]:
    """Correlate every rung with the end of a fine-tune, by quality and by predicted distance, and its end, by both,
    with the quality after longer ones.

    Args:
        records: the trials; those that were not fine-tuned are left out.
        objective: the quality that rungs measure.
    """
    end = max((record.num_updates for record in records), default=0)
    ended = [record for record in records if record.num_updates and record.state == "complete"]
    at_end = {
        objective: {record.number: record.measurements[objective].value for record in ended},
        PREDICTED_DISTANCE: predicted_distances(records, quality=objective),
    }
    steps = {record.number: record.candidate.sampling.steps for record in records}
    found = []
    for updates in sorted({rung.updates for record in records for rung in record.rungs}):
        at_rung = {
            objective: {
                record.number: rung.quality for record in records if (rung := record.rung(updates)) is not None
            },
            PREDICTED_DISTANCE: predicted_distances(records, quality=objective, updates=updates),
        }
        for by, values in at_end.items():
            later_by = objective if updates > end else by
            pairs = list(_agreements(values, at_rung[later_by], steps))
            if len(pairs) >= LEAST_PAIRS:
                found.append(
                    RankCorrelation(
                        by=by,
                        earlier=min(updates, end),
                        later_by=later_by,
                        later=max(updates, end),
                        tau=sum(pairs) / len(pairs),
                        num_pairs=len(pairs),
                    )
                )
    return found


def _agreements(a: Mapping[int, float], b: Mapping[int, float], steps: Mapping[int, int]) -> Iterator[int]:
    """Yield 1 for every comparable pair in the same order, -1 for every one in the other order."""
    for i, j in combinations(sorted(set(a) & set(b)), 2):
        product = (a[i] - a[j]) * (b[i] - b[j])
        if steps[i] == steps[j] and product:
            yield 1 if product > 0 else -1
