"""Which trials a second measurement is for: the front, every baseline, what is best by outlook, and what noise may have
kept off the front."""

import moocore
import numpy as np

from flexsearch.report.front import Front
from flexsearch.study.store import TrialRecord

NOISES = 2.0


def near_front(front: Front) -> list[TrialRecord]:
    """Dominated trials whose quality is within `NOISES` paired noises of the front at their latency, nearest first.

    The front at a latency is its best point that is at least as fast. Without a measured noise there are none.
    """
    if front.noise is None:
        return []
    margin = NOISES * front.noise.paired
    found = [(_behind(front, record), record.number, record) for record in front.others]
    return [record for behind, _, record in sorted(found) if behind <= margin]


def _behind(front: Front, record: TrialRecord) -> float:
    quality, latency = front.values(record)
    ahead = [values[0] for values in map(front.values, front.points) if values[-1] <= latency]
    return quality - min(ahead, default=quality)


def to_confirm(front: Front, *, top: int | None = None) -> list[TrialRecord]:
    """Every baseline, and the searched trials on the front, best by outlook, and near the front, by number.

    Args:
        front: of the run.
        top: take at most this many searched trials: those of the front that add most to the hypervolume, then those
            that are best by outlook, then the nearest to the front. None takes all.
    """
    searched = [record for record in front.points if record.baseline is None]
    if searched:
        table = np.array([front.values(record) for record in front.points])
        added = moocore.hv_contributions(table, ref=np.array(front.reference_point))
        score = {record.number: value for record, value in zip(front.points, added, strict=True)}
        searched.sort(key=lambda record: -score[record.number])
    others = [*front.predicted_front, *near_front(front)]
    searched += list({one.number: one for one in others if one.baseline is None and one not in searched}.values())
    return sorted([*front.baselines, *searched[:top]], key=lambda record: record.number)
