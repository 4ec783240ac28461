"""Compare two trials: what differs in their plans, and whether what was measured differs by more than noise."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from flexsearch.measurement import Measurement
from flexsearch.report.claim import beside_free
from flexsearch.report.front import Front
from flexsearch.report.points import DIFFERENCE, NORMAL_QUARTILE
from flexsearch.report.run import Run
from flexsearch.report.student import half_width
from flexsearch.report.trial_page import draw_run, legend_of
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.role import Operation
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.width import EIGHTHS
from flexsearch.study.store import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One measurement of both trials.

    Attributes:
        a: of the first trial.
        b: of the second.
        other_protocol: what was measured differently; empty for one protocol.
        margin: differences below it may be noise; None where there is no noise (MACs) or it was not measured.
    """

    a: Measurement
    b: Measurement
    other_protocol: tuple[str, ...]
    margin: float | None

    @property
    def value(self) -> float | None:
        """b minus a; None under different protocols."""
        return None if self.other_protocol else self.b.value - self.a.value

    @property
    def exceeds_noise(self) -> bool | None:
        """None where it cannot be told."""
        return None if self.value is None or self.margin is None else abs(self.value) > self.margin

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values."""
        return {
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "difference": self.value,
            "noise_margin": self.margin,
            "exceeds_noise": self.exceeds_noise,
            "protocol_differs_in": list(self.other_protocol),
        }


@dataclass(frozen=True, kw_only=True)
class TrialComparison:
    """Two trials of a run.

    Attributes:
        drawn: steps and blocks of both as text.
        legend: of the letters in it.
        measured: what both have.
        confirmed: quality and latency of both as measured again; empty unless both were.
        latency_ratio: latency of a over b with its spread; None unless both were timed under one protocol.
        beside_free: how fast each is beside what is free at equal quality, in sentences.
        plans: where they differ, a line each.
    """

    a: TrialRecord
    b: TrialRecord
    drawn: tuple[tuple[str, ...], tuple[str, ...]]
    legend: str
    measured: tuple[Difference, ...]
    confirmed: tuple[Difference, ...]
    latency_ratio: Measurement | None
    beside_free: tuple[str, ...]
    plans: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values."""
        return {
            **{
                name: {
                    "trial": one.number,
                    "state": one.state,
                    "baseline": one.baseline,
                    "schedule": str(one.candidate.schedule),
                    "sampling": str(one.candidate.sampling),
                    "digest": one.digest,
                }
                for name, one in (("a", self.a), ("b", self.b))
            },
            "measurements": {one.a.name: one.to_dict() for one in self.measured},
            "confirmed": {one.a.name: one.to_dict() for one in self.confirmed},
            "latency_ratio": None if self.latency_ratio is None else self.latency_ratio.to_dict(),
            "beside_free": list(self.beside_free),
            "plans_differ_in": list(self.plans),
        }


def compare_trials(run: Run, front: Front, a: int, b: int) -> TrialComparison:
    """Compare two trials of a run, complete or not.

    Raises:
        UserError: the run has no such trial.
    """
    first, second = run.trial(a), run.trial(b)
    quality, latency = (objective.name for objective in front.objectives)
    measured = tuple(
        Difference(
            a=found,
            b=second.measurements[name],
            other_protocol=differing(found.protocol, second.measurements[name].protocol),
            margin=_margin(front, found, second.measurements[name], is_quality=name == quality),
        )
        for name, found in first.measurements.items()
        if name in second.measurements
    )
    space = run.settings.search_space
    plans = [space.plan(record.candidate) for record in (first, second)]
    samplings = [record.candidate.sampling for record in (first, second)]
    lines = [f"sampling: {samplings[0]} | {samplings[1]}"] if samplings[0] != samplings[1] else []
    lines += differences(first.candidate.schedule, second.candidate.schedule, space.grid)
    return TrialComparison(
        a=first,
        b=second,
        drawn=(tuple(draw_run(plans[0])), tuple(draw_run(plans[1]))),
        legend=legend_of(plans),
        measured=measured,
        confirmed=tuple(_confirmed(front, a, b)),
        latency_ratio=next((_ratio(one) for one in measured if one.a.name == latency and not one.other_protocol), None),
        beside_free=tuple(said for number in (a, b) for said in beside_free(front, number)),
        plans=tuple(lines),
    )


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    """List the facts of two protocols that are not the same, as "name: in a | in b"."""
    return tuple(f"{key}: {a.get(key)} | {b.get(key)}" for key in sorted({*a, *b}) if a.get(key) != b.get(key))


def _margin(front: Front, a: Measurement, b: Measurement, *, is_quality: bool) -> float | None:
    """Take paired noise for quality, both spreads together for what has its own; None where there is neither."""
    if is_quality:
        return None if front.noise is None else math.sqrt(2) * half_width(front.noise.paired, front.noise.freedom)
    if a.spread is None or b.spread is None:
        return None
    return DIFFERENCE * math.hypot(a.spread, b.spread) / math.sqrt(2) / NORMAL_QUARTILE


def _confirmed(front: Front, a: int, b: int) -> Iterator[Difference]:
    found = front.confirmation
    if found is None or not {a, b} <= set(front.best_known.by_number):
        return
    quality, latency = front.objectives
    first, second = (found.points[number] for number in (a, b))
    typical = (first.latency.value + second.latency.value) / 2
    relative = front.best_known.latency_margin
    for objective, x, y, margin in (
        (
            quality,
            first.at_infinity or first.quality,
            second.at_infinity or second.quality,
            front.best_known.quality_margin,
        ),
        (latency, first.latency, second.latency, None if relative is None else relative * typical),
    ):
        protocol = {**found.protocols[objective.name], "seeds": list(found.seeds)}
        one, other = (
            Measurement(name=objective.name, value=value.value, unit=objective.unit, protocol=protocol)
            for value in (x, y)
        )
        yield Difference(a=one, b=other, other_protocol=(), margin=margin)


def _ratio(latency: Difference) -> Measurement:
    """Divide a by b; relative spreads add as independent errors do."""
    a, b = latency.a, latency.b
    spreads = [(one.spread or 0.0) / one.value for one in (a, b)]
    ratio = a.value / b.value
    return Measurement(
        name="latency_ratio", value=ratio, unit="1", spread=ratio * math.hypot(*spreads), protocol=a.protocol
    )


def differences(a: DensitySchedule, b: DensitySchedule, grid: TokenGrid) -> list[str]:
    """Say where two schedules of one model differ: a line per stage and run of blocks, as "where: in a | in b"."""
    edges = sorted({*a.timetable.edges, *b.timetable.edges})
    lines = []
    for low, high in pairwise(edges):
        runs: list[tuple[int, int, str]] = []
        for one, other in zip(a.route_at(low, grid), b.route_at(low, grid), strict=True):
            if one != other:
                text = f"{_said(one)} | {_said(other)}"
                if runs and runs[-1][1:] == (one.block - 1, text):
                    runs[-1] = (runs[-1][0], one.block, text)
                else:
                    runs.append((one.block, one.block, text))
        for start, end, text in runs:
            blocks = f"block {start}" if start == end else f"blocks {start}-{end}"
            lines.append(f"time {low:.2f}-{high:.2f}, {blocks}: {text}")
    return lines


def _said(operation: Operation) -> str:
    amounts = "".join(f" {name} {eighths}/{EIGHTHS}" for name, eighths in operation.amounts)
    if operation.queries == operation.keys:
        return f"{operation.role} {operation.queries}{amounts}"
    return f"{operation.role} {operation.keys} to {operation.queries}{amounts}"
