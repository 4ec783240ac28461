"""Choose the candidate of a pool with the largest expected hypervolume improvement per second of the device.

A schedule that is fine-tuned already costs samples alone (`device_seconds.py`), so sampling it in another way and
training a new one compete.

Its latency is predicted by a profile of the device, or else by its MACs, scaled to what was measured in this study; its
quality by a Gaussian process over the trials so far (`quality_model.py`).
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from flexsearch.schedule.candidate import Candidate
from flexsearch.study.dense_quality import DenseQuality, dense_baselines
from flexsearch.study.device_seconds import DeviceSeconds
from flexsearch.study.known import MOST_KNOWN, most_telling
from flexsearch.study.pareto import expected_gain, non_dominated, reference_point
from flexsearch.study.quality_model import QualityModel, features
from flexsearch.study.store import TrialRecord

LEAST_TRIALS = 5
"""Trials to learn from before anything is predicted: a model of fewer would be guesswork."""
_REMEMBERED = 1 << 12  # candidates
SAMPLER_EVERY = 4
"""Of so many trials, one is the sampler's own proposal, so that a wrong model cannot lead for ever."""


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """Choose among candidates.

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
        """Tell whether there is enough to learn from: a dense baseline, some trials beside its curves, and positive
        qualities."""
        complete = [record for record in records if record.state == "complete"]
        baselines = dense_baselines(complete)
        is_enough = bool(baselines) and len(_telling(complete, self._dense(baselines))) >= LEAST_TRIALS
        least = min(map(self._quality, complete), default=0.0)
        return is_enough and least > 0  # an unbiased distance may be negative

    def best(self, candidates: Sequence[Candidate], records: Sequence[TrialRecord]) -> int:
        """Give the index of the candidate with the largest expected improvement per second.

        Args:
            candidates: none of which was tried.
            records: the trials so far, baselines among them; those that are running count as what is predicted of them.
        """
        complete = [record for record in records if record.state == "complete"]
        running = [record.candidate for record in records if record.state == "running"]
        asked = [*running, *candidates]
        dense = self._dense(dense_baselines(complete))
        telling = self._some(_telling(complete, dense))
        known = [(record.candidate, self._quality(record)) for record in telling]
        known += self._stopped(records)[-MOST_KNOWN // 2 :]
        model = QualityModel(
            [self._features(candidate) for candidate, _ in known],
            qualities=[value for _, value in known],
            dense=[dense.at(candidate.sampling) for candidate, _ in known],
        )
        mean, sd = model.predict(
            [self._features(one) for one in asked], dense=[dense.at(one.sampling) for one in asked]
        )
        latency = self._latencies(asked, telling)
        points = {record.number: self._point(record) for record in complete}
        expected = list(zip(np.exp(mean), latency, strict=True))[: len(running)]
        gains = expected_gain(
            np.array([*points.values(), *expected]),
            log_mean=mean[len(running) :],
            log_sd=sd[len(running) :],
            latency=latency[len(running) :],
            reference=_reference([points[one.number] for one in complete if one.baseline is not None]),
        )
        seconds = DeviceSeconds(records, work=self._work)
        gains /= [seconds.of(candidate) for candidate in candidates]
        if self.max_ms is not None:
            gains[np.array(latency[len(running) :]) > self.max_ms] = -1.0
        return int(np.argmax(gains))

    def _some(self, records: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
        """Keep the trials that quality and latency are predicted from."""
        values = np.array([self._point(one) for one in records])
        return [records[index] for index in most_telling(values, MOST_KNOWN)]

    def _dense(self, baselines: Sequence[TrialRecord]) -> DenseQuality:
        return DenseQuality(baselines, quality=self.objectives[0])

    def _features(self, candidate: Candidate) -> tuple[float, ...]:
        return features(candidate, work=self._work(candidate))

    @cached_property
    def _work(self) -> Callable[[Candidate], float]:
        """`work`, asked once for what one decision after the other looks at."""
        return lru_cache(maxsize=_REMEMBERED)(self.work)

    @cached_property
    def _predict_ms(self) -> Callable[[Candidate], float | None]:
        """`predict_ms`, asked once."""
        return lru_cache(maxsize=_REMEMBERED)(self.predict_ms)

    def _stopped(self, records: Sequence[TrialRecord]) -> list[tuple[Candidate, float]]:
        """Estimate the qualities that trials stopped at a rung would have reached: the quality there, times the median
        ratio of final quality to quality there of the trials that went on."""
        stopped = [
            (record.candidate, record.rungs[-1]) for record in records if record.state == "pruned" and record.rungs
        ]
        found = []
        for updates in sorted({rung.updates for _, rung in stopped}):
            ratios = [
                self._quality(record) / rung.quality
                for record in records
                if record.state == "complete" and (rung := record.rung(updates)) is not None
            ]
            if ratios:
                ratio = statistics.median(ratios)
                found += [(candidate, rung.quality * ratio) for candidate, rung in stopped if rung.updates == updates]
        return found

    def _latencies(self, candidates: Sequence[Candidate], known: Sequence[TrialRecord]) -> list[float]:
        """Predict ms per image: predictions times the median ratio of measurement and prediction so far."""
        measured = [(record.candidate, self._latency(record)) for record in known]
        by_work = statistics.median(ms / self._work(candidate) for candidate, ms in measured)
        by_profile = [ms / predicted for one, ms in measured if (predicted := self._predict_ms(one)) is not None]
        found = []
        for candidate in candidates:
            predicted = self._predict_ms(candidate)
            if predicted is None or not by_profile:
                found.append(self._work(candidate) * by_work)
            else:
                found.append(predicted * statistics.median(by_profile))
        return found

    def _point(self, record: TrialRecord) -> tuple[float, float]:
        return self._quality(record), self._latency(record)

    def _quality(self, record: TrialRecord) -> float:
        return record.measurements[self.objectives[0]].value

    def _latency(self, record: TrialRecord) -> float:
        return record.measurements[self.objectives[1]].value


def _reference(baselines: Sequence[tuple[float, float]]) -> np.ndarray:
    """Give the (2,) point up to which improvement counts: by the best baselines alone, or a weak one at few steps would
    make the fast end worth most."""
    return reference_point(np.array(non_dominated(baselines, key=lambda one: one)))


def _telling(complete: Sequence[TrialRecord], dense: DenseQuality) -> list[TrialRecord]:
    """All but the baselines that make the dense base's curves, with which the others are compared."""
    return [record for record in complete if record.baseline is None or not dense.is_on_a_curve(record.candidate)]
