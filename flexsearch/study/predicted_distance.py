"""What long training should make of a schedule, told from a short trial: its outlook. And what a trial is worth by it.

The outlook is the dense base's quality at the same sampler steps, times one plus the drift of the trial's samples from
the dense base's at the most steps (`trial/drift.py`). It ranks schedules; it is no forecast of a value. A short trial's
own quality says how fast a schedule adapts: `experiments/density_bench/ranking.py` compares both with the quality after
long training.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from flexsearch.objectives.settings import PAIRED_DISTANCE
from flexsearch.study.store import TrialRecord


def dense_baselines(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The complete trials of the dense base."""
    complete = [record for record in records if record.state == "complete"]
    return [record for record in complete if record.baseline is not None and record.candidate.schedule.is_dense]


class DenseQuality:
    """The dense base's quality over sampler steps, interpolated between its trials in logarithms of both.

    Args:
        dense: complete trials of the dense base, at least one.
        quality: name of the measurement.
    """

    def __init__(self, dense: Sequence[TrialRecord], *, quality: str) -> None:
        known = {record.candidate.sampling.steps: record.measurements[quality].value for record in dense}
        steps = sorted(known)
        self._steps, self._qualities = np.log(steps), np.log([known[num] for num in steps])

    def at(self, steps: int) -> float:
        """Beyond the fewest and the most steps it stays as it is there."""
        return float(np.exp(np.interp(np.log(steps), self._steps, self._qualities)))


def predicted_distances(records: Sequence[TrialRecord], *, quality: str) -> dict[int, float]:
    """The outlook of every complete trial whose drift was measured, by number; the smaller the better.

    There is none without dense baselines, or where one has a quality of zero or less, as an unbiased distance may.
    """
    complete = [record for record in records if record.state == "complete" and PAIRED_DISTANCE in record.measurements]
    paired_distances = {record.number: record.measurements[PAIRED_DISTANCE].value for record in complete}
    return _predicted_distances(records, paired_distances, quality=quality)


def rung_predicted_distances(records: Sequence[TrialRecord], updates: int, *, quality: str) -> dict[int, float]:
    """The same of trials at a rung, by the drift that they had there."""
    reached = {record.number: record.rung(updates) for record in records}
    paired_distances = {
        number: rung.paired_distance
        for number, rung in reached.items()
        if rung is not None and rung.paired_distance is not None
    }
    return _predicted_distances(records, paired_distances, quality=quality)


def scores(records: Sequence[TrialRecord], *, quality: str) -> Mapping[int, float]:
    """What complete trials are compared by: their outlooks if every one has one, else their qualities; never mixed."""
    complete = {record.number: record for record in records if record.state == "complete"}
    found = predicted_distances(records, quality=quality)
    if complete.keys() <= found.keys():
        return found
    return {number: record.measurements[quality].value for number, record in complete.items()}


def rung_scores(records: Sequence[TrialRecord], updates: int, *, quality: str) -> Mapping[int, float]:
    """The same of trials at a rung."""
    reached = {record.number: rung for record in records if (rung := record.rung(updates)) is not None}
    found = rung_predicted_distances(records, updates, quality=quality)
    if reached.keys() <= found.keys():
        return found
    return {number: rung.quality for number, rung in reached.items()}


def _predicted_distances(
    records: Sequence[TrialRecord], paired_distances: Mapping[int, float], *, quality: str
) -> dict[int, float]:
    dense = dense_baselines(records)
    if not dense or min(record.measurements[quality].value for record in dense) <= 0:
        return {}
    at_its_steps = DenseQuality(dense, quality=quality)
    return {
        record.number: at_its_steps.at(record.candidate.sampling.steps) * (1.0 + paired_distances[record.number])
        for record in records
        if record.number in paired_distances
    }
