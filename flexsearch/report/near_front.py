"""Choose what is measured again: the front, every baseline, the predicted front, and what noise may have kept off."""

import moocore
import numpy as np

from flexsearch.report.front import Front
from flexsearch.study.store import TrialRecord

NOISES = 2.0


def near_front(front: Front) -> list[TrialRecord]:
    """List dominated trials within `NOISES` paired noises of the front at their latency, nearest first.

    The front at a latency is its best point that is at least as fast. Without a measured noise there are none.
    """
    if front.noise is None:
        return []
    margin = NOISES * front.noise.paired
    found = [(_behind(front, record), record.number, record) for record in front.others]
    return [record for behind, _, record in sorted(found) if behind <= margin]


def _behind(front: Front, record: TrialRecord) -> float:
    quality, latency = front.values(record)
    ahead = [one.quality for one in front.as_searched.best if one.latency_ms <= latency]
    return quality - min(ahead, default=quality)


def to_confirm(front: Front, *, top: int | None = None) -> list[TrialRecord]:
    """List every baseline, and the searched trials on the front, the predicted front and near the front, by number.

    Args:
        front: of the run.
        top: take at most this many searched trials: those of the front that add most to the hypervolume, then those
            on the predicted front, then the nearest to the front. None takes all.
    """
    added = {}
    if front.points:
        table = np.array([one.objectives for one in front.as_searched.best])
        contributions = moocore.hv_contributions(table, ref=np.array(front.reference_point))
        added = {record.number: float(value) for record, value in zip(front.points, contributions, strict=True)}
    searched = sorted(front.searched, key=lambda record: -added[record.number])
    others = [one for one in (*front.predicted_front, *near_front(front)) if one.baseline is None]
    chosen = {record.number: record for record in (*searched, *others)}
    return sorted([*front.baselines, *list(chosen.values())[:top]], key=lambda record: record.number)
