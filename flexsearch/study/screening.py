"""Which of many candidates is worth a trial, before any of them costs anything.

Of `num` candidates drawn from the space, the one is tried from which most is expected: the gain in hypervolume by the
latency that it is predicted to have and the quality that a model of the trials so far gives it. Latency comes from a
profile of the device, or else from the work (MACs), and is scaled to what was measured in this study.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flexsearch.schedule.density import Candidate
from flexsearch.study.hypervolume import expected_gain, reference_point
from flexsearch.study.quality_model import QualityModel, features
from flexsearch.study.store import TrialRecord

LEAST_TRIALS = 5
"""Trained schedules before anything is predicted: a model of fewer would be guesswork."""
SAMPLERS_TURN = 4
"""Of so many trials, one is the sampler's own proposal, so that a wrong model cannot lead for ever."""


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Chooses among candidates.

    Attributes:
        num: candidates from which one is chosen.
        work: MACs of one image of a candidate, all sampler steps.
        predict_ms: latency of a candidate by a profile, in ms per image; None where it is not known.
        objectives: names of the measurements, quality and latency.
        max_ms: limit of the latency, in ms per image; what is predicted above it is chosen last.
    """

    num: int
    work: Callable[[Candidate], float]
    predict_ms: Callable[[Candidate], float | None]
    objectives: tuple[str, str]
    max_ms: float | None = None

    def is_ready(self, records: Sequence[TrialRecord]) -> bool:
        """Whether there is enough to learn from: a dense baseline, and some trained schedules."""
        complete = [record for record in records if record.state == "complete"]
        return len(_trained(complete)) >= LEAST_TRIALS and bool(_dense(complete))

    def best(self, candidates: Sequence[Candidate], records: Sequence[TrialRecord]) -> int:
        """The index of the candidate from which most is expected.

        Args:
            candidates: none of which was tried.
            records: the trials so far, baselines among them; those that are running count as what is predicted of them.
        """
        complete = [record for record in records if record.state == "complete"]
        running = [record.candidate for record in records if record.state == "running"]
        asked = [*running, *candidates]
        trained = _trained(complete)
        known = [(record.candidate, self._values(record)[0]) for record in trained] + self._stopped(records, trained)
        model = QualityModel(
            [self._features(candidate) for candidate, _ in known],
            qualities=[quality for _, quality in known],
            dense=self._dense_qualities([candidate for candidate, _ in known], complete),
        )
        mean, sd = model.predict([self._features(one) for one in asked], dense=self._dense_qualities(asked, complete))
        latency = self._latencies(asked, trained)
        expected = list(zip(np.exp(mean), latency, strict=True))[: len(running)]
        gains = expected_gain(
            np.array([*(self._values(record) for record in complete), *expected]),
            log_mean=mean[len(running) :],
            log_sd=sd[len(running) :],
            latency=latency[len(running) :],
            reference=reference_point(np.array([self._values(r) for r in complete if r.baseline is not None])),
        )
        if self.max_ms is not None:
            gains[np.array(latency[len(running) :]) > self.max_ms] = -1.0
        return int(np.argmax(gains))

    def _features(self, candidate: Candidate) -> tuple[float, ...]:
        return features(candidate, work=self.work(candidate))

    def _dense_qualities(self, candidates: Sequence[Candidate], complete: Sequence[TrialRecord]) -> list[float]:
        """What the dense base reaches at the sampler steps of each candidate, interpolated between its trials."""
        known = {record.candidate.sampler_steps: self._values(record)[0] for record in _dense(complete)}
        steps = sorted(known)
        logarithms = np.log([known[num] for num in steps])
        asked = np.log([candidate.sampler_steps for candidate in candidates])
        return list(np.exp(np.interp(asked, np.log(steps), logarithms)))

    def _stopped(self, records: Sequence[TrialRecord], trained: Sequence[TrialRecord]) -> list[tuple[Candidate, float]]:
        """Trials that ended at a rung, with what they would have reached: the rung's quality, times the median ratio of
        the last quality to that rung's of the trials that went on."""
        found = []
        for record in records:
            if record.state != "pruned" or not record.rungs:
                continue
            rung, quality = record.rungs[-1]
            ratios = [self._values(one)[0] / dict(one.rungs)[rung] for one in trained if rung in dict(one.rungs)]
            if ratios:
                found.append((record.candidate, quality * statistics.median(ratios)))
        return found

    def _latencies(self, candidates: Sequence[Candidate], trained: Sequence[TrialRecord]) -> list[float]:
        """In ms per image: predictions times the median ratio of measurement and prediction so far."""
        measured = [(record.candidate, self._values(record)[1]) for record in trained]
        by_work = statistics.median(ms / self.work(candidate) for candidate, ms in measured)
        by_profile = [ms / predicted for one, ms in measured if (predicted := self.predict_ms(one)) is not None]
        found = []
        for candidate in candidates:
            predicted = self.predict_ms(candidate)
            if predicted is None or not by_profile:
                found.append(self.work(candidate) * by_work)
            else:
                found.append(predicted * statistics.median(by_profile))
        return found

    def _values(self, record: TrialRecord) -> tuple[float, float]:
        quality, latency = self.objectives
        return record.measurements[quality].value, record.measurements[latency].value


def _trained(complete: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [record for record in complete if not record.candidate.schedule.is_dense]


def _dense(complete: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [record for record in complete if record.baseline is not None and record.candidate.schedule.is_dense]
