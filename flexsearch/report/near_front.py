"""Choose what is measured again: the front, what noise may have kept off, and the baselines that these are compared
with; and what is timed again before anything is claimed."""

from collections.abc import Sequence

import numpy as np

from flexsearch.report.front import Front
from flexsearch.report.speedup import claims_of, rivals
from flexsearch.study.pareto import hypervolume_contributions
from flexsearch.study.store import TrialRecord

NOISES = 2.0
_CLAIMS = 3


def near_front(front: Front) -> list[TrialRecord]:
    """List dominated trials within `NOISES` paired noises of the front at their latency, nearest first.

    The front at a latency is its best point that is at least as fast. Without a measured noise there are none.
    """
    if front.noise is None:
        return []
    found = [(_behind(front, record, front.points), record.number, record) for record in front.others]
    return [record for behind, _, record in sorted(found) if behind <= _margin(front)]


def strongest_baselines(front: Front) -> list[TrialRecord]:
    """List the dense base and the baselines that no other beats by more than `NOISES` paired noises."""
    return [
        record
        for index, record in enumerate(front.baselines)
        if index == 0 or _behind(front, record, front.baselines) <= _margin(front)
    ]


def _margin(front: Front) -> float:
    return 0.0 if front.noise is None else NOISES * front.noise.paired


def _behind(front: Front, record: TrialRecord, others: Sequence[TrialRecord]) -> float:
    """Tell how much worse a trial is than the best of others that are at most as slow."""
    quality, latency = front.values(record)
    values = [front.values(one) for one in others]
    return quality - min((other for other, other_latency in values if other_latency <= latency), default=quality)


def to_time_again(front: Front) -> list[TrialRecord]:
    """List the trials that a headline rests on, by number: the largest claims, what they are compared with, and the
    dense base. There are none where nothing is claimed, where all of them were timed again, and once there is a
    confirmation, which times for itself.
    """
    points = front.as_searched
    claims = [point for point, _ in claims_of(points)][:_CLAIMS]
    if not claims or front.confirmation is not None:
        return []
    wanted = [*claims, *(rival for point in claims for rival in rivals(points, point)), *points.dense[-1:]]
    records = {point.record.number: point.record for point in wanted}
    return [] if records.keys() <= front.timings.keys() else [records[number] for number in sorted(records)]


def to_confirm(front: Front, *, top: int | None = None) -> list[TrialRecord]:
    """List the strongest baselines, and the searched trials on and near the front, by number.

    Args:
        front: of the run.
        top: take at most this many searched trials: those of the front that add most to the hypervolume, then the
            nearest to it. None takes all.
    """
    added = {}
    if front.points:
        table = np.array([one.objectives for one in front.as_searched.best])
        contributions = hypervolume_contributions(table, reference=np.array(front.reference_point))
        added = {record.number: float(value) for record, value in zip(front.points, contributions, strict=True)}
    searched = sorted(front.searched, key=lambda record: -added[record.number])
    chosen = [*searched, *near_front(front)][:top]
    return sorted([*strongest_baselines(front), *chosen], key=lambda record: record.number)
