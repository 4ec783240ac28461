"""The Pareto front of a run: what is best at each latency, baselines included, and the hypervolume that it covers.

A front never mixes protocols: only complete trials of the most frequent one take part, and it says how many others
were left out.
"""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from flexsearch.report.confirmation import Confirmation, confirmation_of
from flexsearch.report.gain import gain_of
from flexsearch.report.points import NORMAL_QUARTILE, FrontPoint, Points, is_free, is_plain
from flexsearch.report.protocol import one_protocol
from flexsearch.report.row import Row
from flexsearch.schedule.sampling import Sampling
from flexsearch.study.noise import Noise, noise_of
from flexsearch.study.pareto import hypervolume, non_dominated, reference_point
from flexsearch.study.predicted_distance import predicted_distances
from flexsearch.study.store import Cost, Store, TrialRecord

STATES = ("complete", "pruned", "infeasible", "duplicate", "failed", "running")

Records = tuple[TrialRecord, ...]


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
        complete: the complete trials of the front's protocol, by number.
        left_out: complete trials of another protocol.
        counts: trials by state.
        noise: of the quality objective; None if it was not measured.
        costs: device seconds.
        predicted_distances: after long training, of complete trials, by number; empty where no paired distance was
            measured.
        confirmation: the second measurement of the front; None before there is one.
    """

    study: str
    objectives: tuple[Objective, ...]
    complete: Mapping[int, TrialRecord]
    left_out: int
    counts: Mapping[str, int]
    noise: Noise | None
    costs: tuple[Cost, ...]
    predicted_distances: Mapping[int, float] = field(default_factory=dict)
    confirmation: Confirmation | None = None

    def values(self, record: TrialRecord) -> tuple[float, ...]:
        """Give the objectives of a complete trial."""
        return tuple(record.measurements[objective.name].value for objective in self.objectives)

    @cached_property
    def as_searched(self) -> Points:
        """All complete trials with the values that the search measured."""
        return Points.of(
            [
                FrontPoint(record=record, quality=self.values(record)[0], latency_ms=self.values(record)[-1])
                for record in self.complete.values()
            ],
            quality_sd=None if self.noise is None else self.noise.paired,
            latency_sd=None if self.latency_spread is None else self.latency_spread / NORMAL_QUARTILE,
        )

    @cached_property
    def best_known(self) -> Points:
        """What was measured again with its new values if there is a confirmation, else all as searched."""
        found = self.confirmation
        if found is None:
            return self.as_searched
        known = [(record, found.points[record.number]) for record in self.confirmed]
        return Points.of(
            [
                FrontPoint(
                    record=record,
                    quality=one.quality.value,
                    latency_ms=one.latency.value,
                    at_infinity=None if one.at_infinity is None else one.at_infinity.value,
                )
                for record, one in known
            ],
            quality_sd=found.paired_noise / math.sqrt(len(found.seeds)),
            latency_sd=found.latency_noise / math.sqrt(len(found.seeds)),
            is_confirmed=True,
        )

    @cached_property
    def points(self) -> Records:
        """The non-dominated trials, fastest first; a baseline may be among them."""
        return tuple(one.record for one in self.as_searched.best)

    @cached_property
    def on_front(self) -> frozenset[int]:
        """The numbers of the points."""
        return frozenset(record.number for record in self.points)

    @property
    def searched(self) -> Records:
        """The searched trials among the points."""
        return tuple(record for record in self.points if record.baseline is None)

    @cached_property
    def baselines(self) -> Records:
        """All baselines."""
        return tuple(record for record in self.complete.values() if record.baseline is not None)

    @property
    def free(self) -> Records:
        """The baselines that need no training, fastest first."""
        return tuple(one.record for one in self.as_searched.free)

    @cached_property
    def paper(self) -> Records:
        """The other baselines: the FlexDiT paper's schedules."""
        return tuple(record for record in self.baselines if not is_free(record))

    @property
    def others(self) -> Records:
        """The searched trials that are dominated."""
        return tuple(one for one in self.complete.values() if one.baseline is None and one.number not in self.on_front)

    @cached_property
    def predicted_front(self) -> Records:
        """The trials that no other dominates in predicted distance and latency, fastest first."""
        known = [one for one in self.as_searched.points if one.record.number in self.predicted_distances]
        best = non_dominated(known, lambda one: (self.predicted_distances[one.record.number], one.latency_ms))
        return tuple(one.record for one in best)

    @property
    def confirmed(self) -> Records:
        """The trials that were measured again, fastest first."""
        points = {} if self.confirmation is None else self.confirmation.points
        known = [number for number in points if number in self.complete]
        return tuple(self.complete[number] for number in sorted(known, key=lambda one: points[one].latency.value))

    @property
    def sections(self) -> tuple[list[Row], ...]:
        """The rows of a table: the points, what else is on the predicted front, and the other baselines."""
        predicted = [one for one in self.predicted_front if one.baseline is None and one.number not in self.on_front]
        baselines = [one for one in self.baselines if one.number not in self.on_front]
        return tuple([self.row(one) for one in records] for records in (self.points, predicted, baselines))

    @property
    def reference_point(self) -> tuple[float, ...]:
        """1.1 times the worst baseline in each objective; the hypervolume is taken up to it."""
        worst = np.array([self.values(record) for record in self.baselines or self.complete.values()])
        return tuple(float(value) for value in reference_point(worst))

    @property
    def hypervolume(self) -> float:
        """The area between front and reference point, in the product of the objectives' units."""
        table = np.array([one.objectives for one in self.as_searched.points])
        return hypervolume(table, reference=np.array(self.reference_point))

    def dense_macs(self, sampling: Sampling) -> float | None:
        """Give the MACs of the dense base at as many steps, nothing reused, which all cost the same; None before it is
        measured."""
        return None if self._macs_of_a_step is None else self._macs_of_a_step * sampling.steps

    @cached_property
    def _macs_of_a_step(self) -> float | None:
        first = next((record for record in self.baselines if is_plain(record)), None)
        return None if first is None else first.measurements["macs"].value / first.candidate.sampling.steps

    @cached_property
    def latency_spread(self) -> float | None:
        """The spread of a latency over the latency, as the median of complete trials; None if no latency has one."""
        found = [record.measurements[self.objectives[-1].name] for record in self.complete.values()]
        ratios = [latency.spread / latency.value for latency in found if latency.spread is not None]
        return statistics.median(ratios) if ratios else None

    def row(self, record: TrialRecord) -> Row:
        """Give what tables and files say of a complete trial."""
        quality, latency = (record.measurements[objective.name] for objective in self.objectives)
        again = None if self.confirmation is None else self.confirmation.points.get(record.number)
        known = self.best_known
        return Row(
            record=record,
            quality=quality,
            latency=latency,
            dense_macs=self.dense_macs(record.candidate.sampling),
            gain=gain_of(self.as_searched, self.as_searched.by_number[record.number]),
            is_on_front=record.number in self.on_front,
            predicted_distance=self.predicted_distances.get(record.number),
            is_on_predicted_front=any(one.number == record.number for one in self.predicted_front),
            confirmed=again,
            gain_again=None if again is None else gain_of(known, known.by_number[record.number]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the contract of `front --json`."""

        def rows(records: Records) -> list[dict[str, Any]]:
            return [self.row(record).to_dict() for record in records]

        return {
            "study": self.study,
            "objectives": [
                {"name": o.name, "unit": o.unit, "direction": "minimize", "protocol": dict(o.protocol)}
                for o in self.objectives
            ],
            "reference_point": list(self.reference_point),
            "hypervolume": self.hypervolume,
            "counts": dict(self.counts),
            "left_out": self.left_out,
            "front": rows(self.points),
            "predicted_front": rows(self.predicted_front),
            "baselines": rows(self.baselines),
            "noise": None if self.noise is None else vars(self.noise),
            "cost_s": {cost.what: cost.seconds for cost in self.costs},
            "confirmation": None
            if self.confirmation is None
            else {**self.confirmation.to_dict(), "points": rows(self.confirmed)},
        }


def front_of(store: Store, objective_names: Sequence[str]) -> Front:
    """Read a run's results and compute its front."""
    quality = objective_names[0]
    records = store.trials()
    counts = Counter[str](record.state for record in records)
    complete, left_out = one_protocol(
        [record for record in records if record.state == "complete"],
        lambda record: [dict(record.measurements[name].protocol) for name in objective_names],
    )
    return Front(
        study=store.study,
        objectives=tuple(_objective(name, complete) for name in objective_names),
        complete={record.number: record for record in complete},
        left_out=left_out,
        counts={state: counts[state] for state in STATES},
        noise=noise_of(store.repetitions(quality)),
        costs=tuple(store.costs()),
        predicted_distances=predicted_distances(complete, quality=quality),
        confirmation=confirmation_of(store.confirmations(), objective_names),
    )


def _objective(name: str, complete: Sequence[TrialRecord]) -> Objective:
    if not complete:
        return Objective(name=name, unit="", protocol={})
    found = complete[0].measurements[name]
    return Objective(name=name, unit=found.unit, protocol=found.protocol)
