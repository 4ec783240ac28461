"""How far the ranking of a run can be trusted: how trials rank early and late, and after short and long fine-tunes.

Kendall's tau over the pairs of trials with equal sampler steps: over all pairs it would mostly say that more steps are
better, which nobody doubts. 1 is the same order, 0 is none, -1 is the reverse.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from flexsearch.study.store import TrialRecord


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Agreement of two rankings of the same trials.

    Attributes:
        by: what the first ranking is by: the quality, or "outlook"; the second is always by the quality.
        earlier: own updates of the first ranking.
        later: own updates of the second.
        tau: Kendall's, over comparable pairs.
        num_pairs: pairs with equal sampler steps and no tie.
    """

    by: str
    earlier: int
    later: int
    tau: float
    num_pairs: int


def rank_correlations(
    records: Sequence[TrialRecord], *, objective: str, outlooks: Mapping[int, float]
) -> list[RankCorrelation]:
    """Between every rung and the end of a fine-tune, and between its end and longer ones, these also by outlook.

    Args:
        records: the trials; those that were not fine-tuned are left out.
        objective: the quality that rungs measure.
        outlooks: of complete trials, by number.
    """
    updates = max((record.curve[-1][0] for record in records if record.curve), default=0)
    columns: dict[int, dict[int, float]] = {}
    for record in records:
        for rung, quality in record.rungs:
            columns.setdefault(rung, {})[record.number] = quality
        if record.curve and record.state == "complete":
            columns.setdefault(updates, {})[record.number] = record.measurements[objective].value
    steps = {record.number: record.candidate.sampler_steps for record in records}
    final = columns.get(updates, {})
    found = []
    for rung in sorted(set(columns) - {updates}):
        rankings = {objective: final} if rung < updates else {objective: final, "outlook": outlooks}
        for by, ranking in rankings.items():
            pairs = list(_agreements(columns[rung], ranking, steps))
            if pairs:
                earlier, later = sorted((rung, updates))
                tau = sum(pairs) / len(pairs)
                found.append(RankCorrelation(by=by, earlier=earlier, later=later, tau=tau, num_pairs=len(pairs)))
    return found


def _agreements(a: Mapping[int, float], b: Mapping[int, float], steps: Mapping[int, int]) -> Iterator[int]:
    """1 for every comparable pair in the same order, -1 for every one in the other order."""
    for i, j in combinations(sorted(set(a) & set(b)), 2):
        product = (a[i] - a[j]) * (b[i] - b[j])
        if steps[i] == steps[j] and product:
            yield 1 if product > 0 else -1
