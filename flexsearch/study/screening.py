"""Passing over proposals that could add nothing to the front, before any of them costs anything.

A proposal is judged by the latency that a profile predicts and by the quality that it could at best reach: the dense
base's at its sampler steps, times the smallest ratio to that which any schedule has reached so far. If that point is
dominated, the proposal is passed over. The bound is empirical, so after some proposals in a row one is run in any case.
The machine may be faster or slower than when the profile was made: predictions are scaled to what was measured since.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flexsearch.schedule.density import Candidate
from flexsearch.study.store import TrialRecord

LEAST_TRIALS = 5
"""Trained schedules before anything is passed over: a bound from fewer would be guesswork."""


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Decides what is worth a trial.

    Attributes:
        num: proposals in a row of which one is run in any case.
        predict_ms: latency of a candidate, in ms per image; None where it is not known.
        objectives: names of the measurements, quality and latency.
    """

    num: int
    predict_ms: Callable[[Candidate], float | None]
    objectives: tuple[str, str]

    def could_add(self, candidate: Candidate, records: Sequence[TrialRecord]) -> bool:
        """Whether a candidate could reach the front.

        Args:
            candidate: the proposal.
            records: the trials so far, baselines among them.
        """
        complete = [record for record in records if record.state == "complete"]
        dense = {
            record.candidate.sampler_steps: self._values(record)[0]
            for record in complete
            if record.baseline is not None and record.candidate.schedule.is_dense
        }
        latency = self._latency(candidate, complete)
        trained = [record for record in complete if not record.candidate.schedule.is_dense]
        if not dense or latency is None or len(trained) < LEAST_TRIALS:
            return True
        steps = sorted(dense)

        def dense_quality(num: int) -> float:
            return float(np.interp(num, steps, [dense[known] for known in steps]))

        ratio = min(self._values(record)[0] / dense_quality(record.candidate.sampler_steps) for record in trained)
        best = np.array([dense_quality(candidate.sampler_steps) * ratio, latency])
        return not any(bool((np.array(self._values(record)) <= best).all()) for record in complete)

    def _latency(self, candidate: Candidate, complete: Sequence[TrialRecord]) -> float | None:
        """The prediction, times the median ratio of measurement and prediction so far."""
        predicted = [(self.predict_ms(record.candidate), self._values(record)[1]) for record in complete]
        ratios = [measured / ms for ms, measured in predicted if ms is not None]
        ms = self.predict_ms(candidate)
        return None if ms is None or not ratios else ms * statistics.median(ratios)

    def _values(self, record: TrialRecord) -> tuple[float, float]:
        quality, latency = self.objectives
        return record.measurements[quality].value, record.measurements[latency].value
