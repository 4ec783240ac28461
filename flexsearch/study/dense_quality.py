"""The dense base's quality at any sampling, from its baselines: what the quality model compares candidates with."""

from collections.abc import Sequence

import numpy as np

from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.gain import NO_GAIN
from flexsearch.schedule.guidance import ALL_ROWS
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.solver import SolverName
from flexsearch.study.baselines import is_fine_tuned
from flexsearch.study.store import TrialRecord


def dense_baselines(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Pick the complete trials of the dense base in which nothing is reused."""
    complete = [record for record in records if record.state == "complete" and record.baseline is not None]
    return [record for record in complete if _is_plain(record.candidate) and not is_fine_tuned(record.baseline)]


def _is_plain(candidate: Candidate) -> bool:
    sampling = candidate.sampling
    computes_all = sampling.guidance == ALL_ROWS and sampling.start == "model" and not candidate.reuses
    return candidate.schedule.is_dense and computes_all


class DenseQuality:
    """Interpolate the dense base's quality over sampler steps between its trials, in logarithms of both.

    Each solver has its own curve, and under it each shift and gain of the stream. Reuse, the first step and guidance
    rows have none: a candidate that computes less of its steps is compared with the dense base that computes all of as
    many.

    Args:
        dense: complete trials of the dense base in which nothing is reused, at least one.
        quality: name of the measurement.
    """

    def __init__(self, dense: Sequence[TrialRecord], *, quality: str) -> None:
        curves: dict[_Curve, dict[int, float]] = {}
        for record in dense:
            sampling = record.candidate.sampling
            curves.setdefault(_curve(sampling), {})[sampling.steps] = record.measurements[quality].value
        least = min(2, max(map(len, curves.values())))  # two make a line; with one number of steps one is enough
        self._curves = {
            key: np.log(sorted(curve.items()))  # rows: steps, quality
            for key, curve in curves.items()
            if len(curve) >= least
        }
        self._known: dict[tuple[_Curve, int], float] = {}

    def at(self, sampling: Sampling) -> float:
        """Give the quality at a sampling; beyond the fewest and the most steps of its curve it stays as it is there.

        The curve is that of its solver, shift and gain. Where that was not measured at two numbers of steps, it is that
        without gain, and where that was not either, the best of all curves.
        """
        key = (_curve(sampling), sampling.steps)
        if key not in self._known:
            (solver, shift, *_), steps = key
            own = self._curves.get(key[0], self._curves.get((solver, shift, NO_GAIN.stream, NO_GAIN.at)))
            curves = self._curves.values() if own is None else [own]
            ends = (np.interp(np.log(steps), curve[:, 0], curve[:, 1]) for curve in curves)
            self._known[key] = float(min(map(np.exp, ends)))
        return self._known[key]

    def is_on_a_curve(self, candidate: Candidate) -> bool:
        """Tell whether a candidate is the dense base as one of the curves describes it."""
        return _is_plain(candidate) and _curve(candidate.sampling) in self._curves


_Curve = tuple[SolverName, float, float, int]


def _curve(sampling: Sampling) -> _Curve:
    """Give what curves differ in. The gain of the skip does nothing to the dense base."""
    return sampling.solver, sampling.shift, sampling.gain.stream, sampling.gain.at
