"""The Pareto front of a run: what is best at each latency, baselines included, and the hypervolume that it covers.

A front never mixes protocols: only complete trials of the most frequent one take part, and it says how many others
were left out.
"""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from flexsearch.latency.linearity import disagreement, scatter
from flexsearch.objectives.settings import SHOWN_BESIDE
from flexsearch.report.attribution import Attribution, attributions_of
from flexsearch.report.budgets import Budget, budgets_of
from flexsearch.report.confirmation import Confirmation, confirmation_of, is_frechet
from flexsearch.report.gain import gain_of
from flexsearch.report.points import NORMAL_QUARTILE, FrontPoint, Points, is_plain
from flexsearch.report.protocol import one_protocol
from flexsearch.report.row import Row
from flexsearch.report.speedup import speedup_of, speedup_over_found
from flexsearch.schedule.axes import used_axes
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.sampling import Sampling
from flexsearch.study.baselines import dense_latencies
from flexsearch.study.noise import Noise, noise_of
from flexsearch.study.pareto import hypervolume, reference_point
from flexsearch.study.store import Cost, Store, Timing, TrialRecord

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
        confirmation: the second measurement of the front; None before there is one.
        timings: later than the latencies of the trials themselves, by number; `complete` has these latencies.
    """

    study: str
    objectives: tuple[Objective, ...]
    complete: Mapping[int, TrialRecord]
    left_out: int
    counts: Mapping[str, int]
    noise: Noise | None
    costs: tuple[Cost, ...]
    confirmation: Confirmation | None = None
    timings: Mapping[int, Timing] = field(default_factory=dict)

    def values(self, record: TrialRecord) -> tuple[float, ...]:
        """Give the objectives of a complete trial."""
        return tuple(record.measurements[objective.name].value for objective in self.objectives)

    @cached_property
    def as_searched(self) -> Points:
        """All complete trials with the values that the search measured."""
        return Points.of(
            [
                FrontPoint(
                    record=record,
                    quality=self.values(record)[0],
                    latency_ms=self.values(record)[-1],
                    distance_sd=None if self.noise is None else self.noise.paired,
                    distance_freedom=math.inf if self.noise is None else self.noise.freedom,
                    latency_sd=self._latency_sd(record),
                )
                for record in self.complete.values()
            ],
            quality_sd=None if self.noise is None else self.noise.paired,
            quality_freedom=math.inf if self.noise is None else self.noise.freedom,
            latency_sd=None if self.latency_spread is None else self.latency_spread / NORMAL_QUARTILE,
        )

    @cached_property
    def best_known(self) -> Points:
        """What was measured again with its new values if there is a confirmation, else all as searched.

        What was timed again after the confirmation has that latency.
        """
        found = self.confirmation
        if found is None:
            return self.as_searched
        known = [(record, found.points[record.number]) for record in self.confirmed]
        own = found.latency_noise / math.sqrt(len(found.seeds))
        timed = self._timed_since
        return Points.of(
            [
                FrontPoint(
                    record=record,
                    quality=one.quality.value,
                    latency_ms=self.values(record)[-1] if record.number in timed else one.latency.value,
                    at_infinity=None if one.at_infinity is None else one.at_infinity.value,
                    distance_sd=one.distance_sd,
                    distance_freedom=found.freedom,
                    latency_sd=self._latency_sd(record) if record.number in timed else own,
                )
                for record, one in known
            ],
            quality_sd=statistics.median(one.distance_sd for _, one in known) if known else None,
            quality_freedom=found.freedom,
            latency_sd=own,
            is_confirmed=True,
        )

    @property
    def _timed_since(self) -> frozenset[int]:
        """The numbers of the trials that were timed again after they were confirmed."""
        return frozenset(number for number, one in self.timings.items() if one.is_later_than_confirmation)

    @cached_property
    def schedules(self) -> frozenset[DensitySchedule]:
        """The schedules of complete trials, which many of them share."""
        return frozenset(record.candidate.schedule for record in self.complete.values())

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
        """Published schedules among the baselines: FlexDiT's, DyDiT's, DiffCR's."""
        return tuple(record for record in self.baselines if not record.candidate.schedule.is_dense)

    @property
    def others(self) -> Records:
        """The searched trials that are dominated."""
        return tuple(one for one in self.complete.values() if one.baseline is None and one.number not in self.on_front)

    @property
    def confirmed(self) -> Records:
        """The trials that were measured again, fastest first."""
        points = {} if self.confirmation is None else self.confirmation.points
        known = [number for number in points if number in self.complete]
        return tuple(self.complete[number] for number in sorted(known, key=lambda one: points[one].latency.value))

    @property
    def sections(self) -> tuple[list[Row], list[Row]]:
        """The rows of a table: the front, and the other baselines.

        Once there is a confirmation: the front of what was measured again, and the rest of that, alone. The front is
        ordered by the lower end of the speed-up, largest first; what is free, which has none, follows by latency.
        """
        best = [one.record for one in self.best_known.best]
        seen = {one.number for one in best}
        others = self.baselines if self.confirmation is None else self.confirmed
        rest = [self.row(one) for one in others if one.number not in seen]
        return sorted((self.row(one) for one in best), key=_by_claim), rest

    @property
    def beside(self) -> list[str]:
        """Names of what was measured of images beside the objective, and is shown."""
        names = {name for record in self.complete.values() for name in record.measurements}
        return [name for name in SHOWN_BESIDE if name in names and name != self.objectives[0].name]

    @property
    def is_compiled(self) -> bool:
        """Whether latencies are those of compiled graphs."""
        return bool(self.objectives[-1].protocol.get("compile"))

    @property
    def num_unconfirmed(self) -> int:
        """Complete trials that a confirmation has left out; 0 before there is one."""
        return 0 if self.confirmation is None else len(self.complete) - len(self.confirmed)

    @property
    def is_biased(self) -> bool:
        """Whether the distances that are known best have the bias of few images, so that their ratios say little."""
        return is_frechet(self.objectives[0].name) and not self.is_at_infinity

    @property
    def is_at_infinity(self) -> bool:
        """Whether these distances are those of infinitely many images."""
        return any(one.at_infinity is not None for one in self.best_known.points)

    @property
    def budgets(self) -> list[Budget]:
        """What quality budgets buy, by the values that are known best."""
        return budgets_of(self.best_known)

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

    @cached_property
    def axes(self) -> Mapping[int, tuple[str, ...]]:
        """The axes that complete trials use, by number; the dense base at the most steps of its own solver uses none.
        Without it, the most steps of all are no axis."""
        plain = self.as_searched.dense or self.as_searched.points
        steps = max((one.record.candidate.sampling.steps for one in plain), default=1)
        return {number: used_axes(record.candidate, steps=steps) for number, record in self.complete.items()}

    @cached_property
    def attributions(self) -> list[Attribution]:
        """What each axis owns of the front, as searched, and the hypervolume that is lost without it."""
        return attributions_of(self.as_searched, used=self.axes, reference=self.reference_point)

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

    def _latency_sd(self, record: TrialRecord) -> float | None:
        """Estimate the relative noise of one latency: by its own spread or that of most, whichever is larger, and where
        the machine was not quiet by how far the dense base's latencies lie from a line."""
        latency = record.measurements[self.objectives[-1].name]
        if latency.spread is None or self.latency_spread is None:
            return None
        spread = max(latency.spread / latency.value, self.latency_spread) / NORMAL_QUARTILE
        was_busy = self.disagreement is not None and record.number not in self.timings
        return max(spread, scatter(self._dense_latencies)) if was_busy else spread

    @cached_property
    def _dense_latencies(self) -> Mapping[int, float]:
        """Latency in ms of the dense base as it comes, by its steps."""
        return dense_latencies(self.baselines, latency=self.objectives[-1].name)

    @cached_property
    def disagreement(self) -> float | None:
        """How far the dense base's latencies are from a line in its steps; None as on a quiet machine."""
        return disagreement(self._dense_latencies)

    def row(self, record: TrialRecord) -> Row:
        """Give what tables and files say of a complete trial."""
        quality, latency = (record.measurements[objective.name] for objective in self.objectives)
        again = None if self.confirmation is None else self.confirmation.points.get(record.number)
        known = self.best_known
        point = known.by_number.get(record.number)
        return Row(
            record=record,
            point=point or self.as_searched.by_number[record.number],
            speedup=None if point is None else speedup_of(known, point),
            speedup_over_found=None if point is None else speedup_over_found(known, point),
            quality=quality,
            latency=latency,
            axes=self.axes[record.number],
            dense_macs=self.dense_macs(record.candidate.sampling),
            gain=gain_of(self.as_searched, self.as_searched.by_number[record.number]),
            is_on_front=record.number in self.on_front,
            confirmed=again,
            is_timed_again=record.number in (self.timings if again is None else self._timed_since),
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
            "baselines": rows(self.baselines),
            "budgets": [one.to_dict() for one in self.budgets],
            "attribution": [one.to_dict() for one in self.attributions],
            "dense_latencies_disagree_by": self.disagreement,
            "noise": None if self.noise is None else vars(self.noise),
            "cost_s": {cost.what: cost.seconds for cost in self.costs},
            "confirmation": None
            if self.confirmation is None
            else {**self.confirmation.to_dict(), "points": rows(self.confirmed)},
        }


def front_of(store: Store, objective_names: Sequence[str]) -> Front:
    """Read a run's results and compute its front."""
    timings, latency = store.timings(), objective_names[-1]
    records = [_timed(record, timings.get(record.number), latency) for record in store.trials()]
    front = searched_front(records, objective_names)
    return replace(
        front,
        study=store.study,
        noise=noise_of(store.repetitions(objective_names[0])),
        costs=tuple(store.costs()),
        confirmation=confirmation_of(store.confirmations(), objective_names),
        timings=timings,
    )


def searched_front(records: Sequence[TrialRecord], objective_names: Sequence[str]) -> Front:
    """Compute the front of trials alone, without what belongs to the run as a whole."""
    counts = Counter[str](record.state for record in records)
    complete, left_out = one_protocol(
        [record for record in records if record.state == "complete"],
        lambda record: [record.measurements[name].protocol for name in objective_names],
    )
    return Front(
        study="",
        objectives=tuple(_objective(name, complete) for name in objective_names),
        complete={record.number: record for record in complete},
        left_out=left_out,
        counts={state: counts[state] for state in STATES},
        noise=None,
        costs=(),
    )


def _timed(record: TrialRecord, timing: Timing | None, name: str) -> TrialRecord:
    """Take a later timing of a trial for its latency: the same measurement, on the same hardware, made again."""
    own = record.measurements.get(name)
    if own is None or timing is None:
        return record
    again = {
        one: replace(record.measurements[one], value=later.value, spread=later.spread)
        for one, later in ((name, timing.latency), *((later.name, later) for later in timing.beside))
        if one in record.measurements
    }
    return replace(record, measurements={**record.measurements, **again})


def _by_claim(row: Row) -> tuple[float, float]:
    return (math.inf if row.speedup is None else -row.speedup.low, row.point.latency_ms)


def _objective(name: str, complete: Sequence[TrialRecord]) -> Objective:
    if not complete:
        return Objective(name=name, unit="", protocol={})
    found = complete[0].measurements[name]
    return Objective(name=name, unit=found.unit, protocol=found.protocol)
