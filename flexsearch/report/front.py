"""The Pareto front of a run: what is best at each latency, baselines included, and the hypervolume that it covers.

Dominance and hypervolume are moocore's. Only complete trials of one protocol meet: a front never mixes protocols.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import moocore
import numpy as np

from flexsearch.measurement import Measurement, canonical_json
from flexsearch.report.confirmation import Confirmation, confirmation_of
from flexsearch.report.trust import RankCorrelation, rank_correlations
from flexsearch.study.noise import Noise, noise_of
from flexsearch.study.pareto import hypervolume, reference_point
from flexsearch.study.predicted_distance import predicted_distances
from flexsearch.study.store import Cost, Store, TrialRecord

STATES = ("complete", "pruned", "infeasible", "duplicate", "failed", "running")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is minimised, and how it was measured."""

    name: str
    unit: str
    protocol: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Front:
    """The outcome of a run.

    Attributes:
        study: its name.
        objectives: quality first, then latency.
        reference_point: 1.1 times the worst baseline in each objective; the hypervolume is taken up to it.
        hypervolume: area between front and reference point, in the product of the objectives' units.
        counts: trials by state.
        points: complete, non-dominated trials, fastest first; a baseline may be among them.
        baselines: all complete baselines.
        others: complete trials that are dominated.
        noise: of the quality objective; None if it was not measured.
        costs: device seconds.
        dense_macs: of the dense base; None before it is measured.
        outlooks: what long training should make of complete trials, by number; empty where no drift was measured.
        rank_correlations: how trials rank early and late; empty where nothing can be compared.
        confirmation: the second measurement of the front; None before there is one.
    """

    study: str
    objectives: tuple[Objective, ...]
    reference_point: tuple[float, ...]
    hypervolume: float
    counts: Mapping[str, int]
    points: tuple[TrialRecord, ...]
    baselines: tuple[TrialRecord, ...]
    others: tuple[TrialRecord, ...]
    noise: Noise | None
    costs: tuple[Cost, ...]
    dense_macs: float | None
    predicted_distances: Mapping[int, float] = field(default_factory=dict)
    rank_correlations: tuple[RankCorrelation, ...] = ()
    confirmation: Confirmation | None = None

    def values(self, record: TrialRecord) -> tuple[float, ...]:
        """The objectives of a complete trial."""
        return tuple(record.measurements[objective.name].value for objective in self.objectives)

    @property
    def complete(self) -> dict[int, TrialRecord]:
        """All complete trials of the front's protocol, by number."""
        return {record.number: record for record in (*self.points, *self.baselines, *self.others)}

    @cached_property
    def predicted_front(self) -> tuple[TrialRecord, ...]:
        """Trials that no other beats in both outlook and latency, fastest first."""
        known = [record for number, record in self.complete.items() if number in self.predicted_distances]
        if not known:
            return ()
        latency = self.objectives[-1].name
        table = np.array([[self.predicted_distances[one.number], one.measurements[latency].value] for one in known])
        best = [one for one, good in zip(known, moocore.is_nondominated(table), strict=True) if good]
        return tuple(sorted(best, key=lambda one: one.measurements[latency].value))

    @property
    def sections(self) -> tuple[tuple[TrialRecord, ...], ...]:
        """What a table of the front shows: its points, what else is promising, the other baselines."""
        baselines = tuple(record for record in self.baselines if record not in self.points)
        predicted_front = tuple(one for one in self.predicted_front if one.baseline is None and one not in self.points)
        return self.points, predicted_front, baselines

    def predicted_distance_text(self, record: TrialRecord) -> str:
        """The outlook as a table shows it, with a star if no other trial beats it in outlook and latency."""
        if record.number not in self.predicted_distances:
            return ""
        return f"{self.predicted_distances[record.number]:.1f}{'*' if record in self.predicted_front else ' '}"

    @property
    def latency_spread(self) -> float | None:
        """The spread of a latency over the latency, as the median of complete trials; None if no latency has one."""
        found = [record.measurements[self.objectives[-1].name] for record in self.complete.values()]
        ratios = [latency.spread / latency.value for latency in found if latency.spread is not None]
        return statistics.median(ratios) if ratios else None

    @property
    def confirmed(self) -> list[TrialRecord]:
        """The trials that were measured again, fastest first."""
        if self.confirmation is None:
            return []
        points, complete = self.confirmation.points, self.complete
        known = [number for number in points if number in complete]
        return [complete[number] for number in sorted(known, key=lambda number: points[number].latency.value)]

    def row(self, record: TrialRecord) -> dict[str, Any]:
        """A trial as `front --json` prints it."""
        macs = record.measurements["macs"].value
        again = None if self.confirmation is None else self.confirmation.points.get(record.number)
        predicted_distance = (
            {"outlook": self.predicted_distances[record.number]} if record.number in self.predicted_distances else {}
        )
        confirmed = {} if again is None else {"confirmed": again.to_dict()}
        return {
            "trial": record.number,
            "values": dict(zip((objective.name for objective in self.objectives), self.values(record), strict=True)),
            "macs": macs,
            "macs_ratio": None if self.dense_macs is None else macs / self.dense_macs,
            "digest": record.digest,
            "baseline": record.baseline,
            "schedule": record.candidate.to_dict(),
            **predicted_distance,
            **confirmed,
        }

    def to_dict(self) -> dict[str, Any]:
        """The contract of `front --json`."""
        return {
            "study": self.study,
            "objectives": [
                {"name": o.name, "unit": o.unit, "direction": "minimize", "protocol": dict(o.protocol)}
                for o in self.objectives
            ],
            "reference_point": list(self.reference_point),
            "hypervolume": self.hypervolume,
            "counts": dict(self.counts),
            "front": [self.row(record) for record in self.points],
            "promising": [self.row(record) for record in self.predicted_front],
            "baselines": [self.row(record) for record in self.baselines],
            "noise": None if self.noise is None else vars(self.noise),
            "rank_correlations": [vars(one) for one in self.rank_correlations],
            "cost_s": {cost.what: cost.seconds for cost in self.costs},
            "confirmation": None
            if self.confirmation is None
            else {**self.confirmation.to_dict(), "points": [self.row(record) for record in self.confirmed]},
        }


def front_of(store: Store, objective_names: Sequence[str]) -> Front:
    """Reads a run's evidence and computes its front."""
    records = store.trials()
    complete = [record for record in records if record.state == "complete"]
    complete = _one_protocol(complete, objective_names)
    baselines = tuple(record for record in complete if record.baseline is not None)
    table = np.array([[record.measurements[name].value for name in objective_names] for record in complete])
    reference = reference_point(np.array([table[complete.index(b)] for b in baselines]) if baselines else table)
    is_best = moocore.is_nondominated(table) if len(complete) else np.array([], dtype=bool)
    best = [record for record, good in zip(complete, is_best, strict=True) if good]
    predicted_distance = predicted_distances(complete, quality=objective_names[0])
    dense = next((record for record in baselines if record.candidate.schedule.is_dense), None)
    return Front(
        study=store.study,
        objectives=tuple(_objective(name, complete) for name in objective_names),
        reference_point=tuple(float(value) for value in reference),
        hypervolume=hypervolume(table, reference=reference),
        counts={state: sum(record.state == state for record in records) for state in STATES},
        points=tuple(sorted(best, key=lambda record: record.measurements[objective_names[-1]].value)),
        baselines=baselines,
        others=tuple(r for r, good in zip(complete, is_best, strict=True) if not good and r.baseline is None),
        noise=noise_of(store.repetitions(objective_names[0])),
        costs=tuple(store.costs()),
        dense_macs=None if dense is None else dense.measurements["macs"].value,
        predicted_distances=predicted_distance,
        rank_correlations=tuple(rank_correlations(records, objective=objective_names[0])),
        confirmation=confirmation_of(store.confirmations(), objective_names),
    )


def _objective(name: str, complete: Sequence[TrialRecord]) -> Objective:
    if not complete:
        return Objective(name=name, unit="", protocol={})
    found: Measurement = complete[0].measurements[name]
    return Objective(name=name, unit=found.unit, protocol=found.protocol)


def _one_protocol(complete: Sequence[TrialRecord], names: Sequence[str]) -> list[TrialRecord]:
    """The trials measured under the protocol of most of them."""

    def protocol(record: TrialRecord) -> str:
        return canonical_json([dict(record.measurements[name].protocol) for name in names])

    counts: dict[str, int] = {}
    for record in complete:
        counts[protocol(record)] = counts.get(protocol(record), 0) + 1
    most = max(counts, key=lambda key: counts[key], default="")
    return [record for record in complete if protocol(record) == most]
