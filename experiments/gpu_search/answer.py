"""Does the search find schedules that dominate the paper's layout, and dense at fewer steps, at equal latency?

Two comparisons, both paired: a difference is taken under each seed, where everybody saw the same noise and labels.

- Against a *curve*: the baseline's quality at the candidate's latency, interpolated linearly between its numbers of
  steps, minus the candidate's. To the right of the curve its last point counts; to the left there is nothing to compare
  with. Quality over latency is convex, so a line flatters the candidate between two points.
- Against a *point*: the candidate is at least as fast as a baseline that was measured, and better. No interpolation.

Intervals are Student's over seeds. A family of comparisons (all candidates against one curve or point) shares its
error: with K candidates each interval is made at 1 - 0.05 / K (Bonferroni), so "some candidate is better" is wrong in
5 % of cases at most. They say how far sampling noise goes, not training noise: every schedule was trained once.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from evidence import Candidate, Evidence
from scipy import stats

ERROR = 0.05
CURVES = ("dense", "paper")


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How much better a candidate is than what it is compared with; positive is better.

    Attributes:
        value: mean over seeds.
        low, high: the interval; None with one seed.
    """

    value: float
    low: float | None
    high: float | None

    @property
    def is_sure(self) -> bool:
        return self.low is not None and self.low > 0


@dataclass(frozen=True, kw_only=True)
class Dominated:
    """A baseline, and the searched candidate that is no slower and the most ahead of it; None if none is as fast."""

    baseline: Candidate
    by: Candidate | None
    gain: Gain | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to the question.

    Attributes:
        evidence: what it rests on.
        gains: by curve, then by trial: of searched candidates; None where the curve has nothing as fast.
        dominated: every baseline.
    """

    evidence: Evidence
    gains: dict[str, dict[int, Gain | None]]
    dominated: tuple[Dominated, ...]

    def num_ahead(self, curve: str) -> int:
        """Searched candidates that are better than the curve for sure."""
        return sum(gain is not None and gain.is_sure for gain in self.gains[curve].values())

    def best(self, curve: str) -> tuple[Candidate, Gain] | None:
        """The searched candidate that is the most ahead of a curve."""
        found = [
            (candidate, gain)
            for candidate in self.evidence.candidates
            if (gain := self.gains[curve].get(candidate.trial)) is not None
        ]
        return max(found, key=lambda pair: pair[1].value, default=None)

    def to_dict(self) -> dict[str, Any]:
        """What `answer.json` holds, without the cost."""
        evidence = self.evidence
        return {
            "confirmed": evidence.is_confirmed,
            "objective": evidence.objective,
            "images": evidence.images,
            "seeds": list(evidence.seeds),
            "family_error": ERROR,
            "protocol": evidence.facts,
            "candidates": [
                {
                    "trial": one.trial,
                    "name": one.name,
                    "schedule": one.schedule,
                    "sampler_steps": one.sampler_steps,
                    "baseline": one.baseline,
                    "quality": one.quality.tolist(),
                    "latency_ms": one.latency_ms.tolist(),
                    **{f"gain_over_{curve}": _plain(self.gains[curve].get(one.trial)) for curve in CURVES},
                }
                for one in evidence.candidates
            ],
            "curves": {
                curve: {
                    "searched_candidates": len(self.gains[curve]),
                    "ahead_for_sure": self.num_ahead(curve),
                    "most_ahead": None if (best := self.best(curve)) is None else best[0].trial,
                }
                for curve in CURVES
            },
            "baselines": [
                {
                    "name": one.baseline.name,
                    "dominated_by": None if one.by is None else one.by.trial,
                    "gain": _plain(one.gain),
                    "for_sure": one.gain is not None and one.gain.is_sure,
                }
                for one in self.dominated
            ],
        }


def answer(evidence: Evidence) -> Answer:
    """Compares every searched candidate with both curves, and every baseline with every searched candidate."""
    searched = [one for one in evidence.candidates if one.baseline is None]
    gains: dict[str, dict[int, Gain | None]] = {}
    for name in CURVES:
        curve = [one for one in evidence.candidates if one.baseline == name]
        differences = {one.trial: _over_curve(one, curve) for one in searched}
        num = sum(found is not None for found in differences.values())
        gains[name] = {
            trial: None if found is None else gain_of(found, num_compared=num) for trial, found in differences.items()
        }
    baselines = [one for one in evidence.candidates if one.baseline is not None]
    return Answer(evidence=evidence, gains=gains, dominated=tuple(_dominated(one, searched) for one in baselines))


def gain_of(differences: np.ndarray, *, num_compared: int) -> Gain:
    """The gain from paired differences (S,), one of `num_compared` that share an error of 5 %."""
    value, num = float(differences.mean()), len(differences)
    if num < 2:
        return Gain(value=value, low=None, high=None)
    quantile = stats.t.ppf(1 - ERROR / num_compared / 2, num - 1)
    half = float(quantile * differences.std(ddof=1) / np.sqrt(num))
    return Gain(value=value, low=value - half, high=value + half)


def _over_curve(candidate: Candidate, curve: Sequence[Candidate]) -> np.ndarray | None:
    """(S,) the curve's quality at the candidate's latency minus the candidate's; None to the left of the curve."""
    if not curve or candidate.latency_ms.mean() < min(point.latency_ms.mean() for point in curve):
        return None
    latency = np.array([point.latency_ms for point in curve])  # (P, S)
    quality = np.array([point.quality for point in curve])
    order = latency.mean(axis=1).argsort()
    at_equal_latency = [
        np.interp(candidate.latency_ms[seed], latency[order, seed], quality[order, seed])
        for seed in range(latency.shape[1])
    ]
    return np.array(at_equal_latency) - candidate.quality


def _dominated(baseline: Candidate, searched: Sequence[Candidate]) -> Dominated:
    as_fast = [one for one in searched if one.latency_ms.mean() <= baseline.latency_ms.mean()]
    if not as_fast:
        return Dominated(baseline=baseline, by=None, gain=None)
    gains = [gain_of(baseline.quality - one.quality, num_compared=len(as_fast)) for one in as_fast]
    best = max(range(len(gains)), key=lambda index: gains[index].value)
    return Dominated(baseline=baseline, by=as_fast[best], gain=gains[best])


def _plain(gain: Gain | None) -> dict[str, Any] | None:
    return None if gain is None else {**asdict(gain), "for_sure": gain.is_sure}
