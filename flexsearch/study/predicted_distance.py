"""Predicted distance: which schedules should be best after long training, told from short trials.

It is the dense base's quality at the same sampling, times one plus the paired distance of the trial's samples to the
dense base's at the most steps (`trial/paired_distance.py`). It ranks schedules; it is no forecast of a value. A short
trial's own quality says how fast a schedule adapts: `experiments/density_bench/ranking.py` compares both with the
quality after long training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from flexsearch.objectives.settings import PAIRED_DISTANCE
from flexsearch.schedule.sampling import Sampling
from flexsearch.study.store import TrialRecord


def dense_baselines(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Pick the complete trials of the dense base."""
    complete = [record for record in records if record.state == "complete"]
    return [record for record in complete if record.baseline is not None and record.candidate.schedule.is_dense]


class DenseQuality:
    """Interpolates the dense base's quality over sampler steps between its trials, in logarithms of both.

    Trials that differ in more of their sampling than its steps lie on different curves.

    Args:
        dense: complete trials of the dense base, at least one.
        quality: name of the measurement.
    """

    def __init__(self, dense: Sequence[TrialRecord], *, quality: str) -> None:
        curves: dict[Sampling, dict[int, float]] = {}
        for record in dense:
            sampling = record.candidate.sampling
            curves.setdefault(_without_steps(sampling), {})[sampling.steps] = record.measurements[quality].value
        self._curves = {key: np.log(sorted(curve.items())) for key, curve in curves.items()}  # rows: steps, quality

    def at(self, sampling: Sampling) -> float:
        """Give the quality at a sampling; beyond the fewest and the most steps of its curve it stays as it is there.

        A sampling whose curve was not measured gets the best of the others.
        """
        own = self._curves.get(_without_steps(sampling))
        curves = self._curves.values() if own is None else [own]
        return float(min(np.exp(np.interp(np.log(sampling.steps), curve[:, 0], curve[:, 1])) for curve in curves))


def _without_steps(sampling: Sampling) -> Sampling:
    return replace(sampling, steps=1)


def predicted_distances(
    records: Sequence[TrialRecord], *, quality: str, updates: int | None = None
) -> dict[int, float]:
    """Give the predicted distance of trials, by number; the smaller the better.

    There is none without dense baselines, or where one has a quality of zero or less, as an unbiased distance may.

    Args:
        records: all trials.
        quality: name of the measurement.
        updates: of a rung: predicts from the paired distances there; None takes those of complete trials.
    """
    dense = dense_baselines(records)
    if not dense or min(record.measurements[quality].value for record in dense) <= 0:
        return {}
    curve = DenseQuality(dense, quality=quality)
    return {
        record.number: curve.at(record.candidate.sampling) * (1.0 + paired_distance)
        for record in records
        if (paired_distance := _paired_distance(record, updates)) is not None
    }


def scores(records: Sequence[TrialRecord], *, quality: str, updates: int | None = None) -> Mapping[int, float]:
    """Give what complete trials, or those at the rung of `updates`, are compared by: their predicted distances if
    every one has one, else their qualities; never mixed."""
    qualities = {
        record.number: value for record in records if (value := _quality(record, quality, updates)) is not None
    }
    found = predicted_distances(records, quality=quality, updates=updates)
    return found if qualities.keys() <= found.keys() else qualities


def _paired_distance(record: TrialRecord, updates: int | None) -> float | None:
    if updates is not None:
        rung = record.rung(updates)
        return None if rung is None else rung.paired_distance
    measured = record.measurements.get(PAIRED_DISTANCE)
    return None if measured is None or record.state != "complete" else measured.value


def _quality(record: TrialRecord, quality: str, updates: int | None) -> float | None:
    if updates is not None:
        rung = record.rung(updates)
        return None if rung is None else rung.quality
    return record.measurements[quality].value if record.state == "complete" else None
