"""What the question is answered from: quality and latency of every candidate, seed by seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flexsearch.report.front import Front
from flexsearch.report.run import Run
from flexsearch.study.store import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One schedule at one number of sampler steps.

    Attributes:
        trial: its number.
        name: of a baseline, else its schedule.
        schedule: as it is drawn.
        sampler_steps: of the sampler.
        baseline: "dense", "paper", or None if it was searched.
        quality: (S,) one value per seed, lower is better.
        latency_ms: (S,) per image.
    """

    trial: int
    name: str
    schedule: str
    sampler_steps: int
    baseline: str | None
    quality: np.ndarray
    latency_ms: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Candidates measured under the same seeds.

    Attributes:
        candidates: searched ones and baselines.
        objective: name of the quality.
        images: per candidate and seed.
        seeds: all of them saw.
        is_confirmed: whether it was measured again, on noise that the search has not seen.
        facts: how quality and latency were measured.
    """

    candidates: tuple[Candidate, ...]
    objective: str
    images: int
    seeds: tuple[int, ...]
    is_confirmed: bool
    facts: Mapping[str, Any]


def evidence_of(run: Run, front: Front, *, images: int | None) -> Evidence:
    """What was found.

    Args:
        run: the search.
        front: its front.
        images: of the confirmation; None takes the values that the search itself saw.
    """
    quality, latency = (objective.name for objective in front.objectives)
    records = {record.number: record for record in (*front.points, *front.baselines)}
    if images is None:
        values = {number: {run.search.seed: record.measurements} for number, record in records.items()}
    else:
        everyone = {record.number: record for record in run.store.trials()}
        values = run.store.confirmations()[images]
        records = {number: everyone[number] for number in values}
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in values.values())))
    facts = next(iter(values.values()))[seeds[0]]
    return Evidence(
        candidates=tuple(
            _candidate(
                record,
                quality=np.array([values[number][seed][quality].value for seed in seeds]),
                latency_ms=np.array([values[number][seed][latency].value for seed in seeds]),
            )
            for number, record in sorted(records.items())
        ),
        objective=quality,
        images=facts[quality].protocol["images"],
        seeds=tuple(seeds),
        is_confirmed=images is not None,
        facts={name: dict(facts[name].protocol) for name in (quality, latency)},
    )


def _candidate(record: TrialRecord, *, quality: np.ndarray, latency_ms: np.ndarray) -> Candidate:
    schedule = record.candidate.schedule
    baseline = None if record.baseline is None else "dense" if schedule.is_dense else "paper"
    return Candidate(
        trial=record.number,
        name=record.baseline or str(schedule),
        schedule=str(schedule),
        sampling=Sampling(steps=record.candidate.sampler_steps),
        baseline=baseline,
        quality=quality,
        latency_ms=latency_ms,
    )
