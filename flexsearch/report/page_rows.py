"""The rows of the page's two tables, as they are printed: the front, and what was measured again."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from flexsearch.report.claims import compare
from flexsearch.report.confirmation import Interval
from flexsearch.report.front import Front


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trial in the table of the front, as it is printed."""

    number: int
    name: str
    schedule: str
    steps: int
    quality: str
    latency: str
    spread: str
    macs: str
    speedup: str
    gain: str
    predicted_distance: str
    is_baseline: bool


@dataclass(frozen=True, kw_only=True)
class ConfirmedRow:
    """One trial that was measured again."""

    number: int
    name: str
    schedule: str
    steps: int
    searched: str
    quality: str
    at_infinity: str
    latency: str
    front_probability: str
    verdict: str


def front_rows(front: Front) -> Iterator[Row]:
    """The front, fastest first, then what else is best by outlook, then the baselines that are not on it."""
    for record in chain.from_iterable(front.sections):
        quality, latency = (record.measurements[objective.name] for objective in front.objectives)
        compared, is_dense = compare(front, record), record.candidate.schedule.is_dense
        ratio = front.row(record)["macs_ratio"]
        yield Row(
            number=record.number,
            name=record.baseline or "",
            schedule=str(record.candidate.schedule),
            steps=record.candidate.sampling.steps,
            quality=f"{quality.value:.2f}",
            latency=f"{latency.value:#.3g}",
            spread="" if latency.spread is None else f"± {latency.spread:.1g}",
            macs="" if ratio is None else f"{ratio:.0%}",
            speedup="" if is_dense or compared.speedup is None else f"{compared.speedup:.2f}x",
            gain="" if is_dense else "fastest" if compared.gain is None else f"{compared.gain:+.2f}",
            predicted_distance=front.predicted_distance_text(record),
            is_baseline=record.baseline is not None,
        )


def confirmed_rows(front: Front) -> Iterator[ConfirmedRow]:
    """What was measured again, fastest first."""
    for record in front.confirmed:
        assert front.confirmation is not None, "without one nothing is confirmed"
        point = front.confirmation.points[record.number]
        yield ConfirmedRow(
            number=record.number,
            name=record.baseline or "",
            schedule=str(record.candidate.schedule),
            steps=record.candidate.sampling.steps,
            searched=f"{front.values(record)[0]:.2f}",
            quality=_interval(point.quality),
            at_infinity="" if point.at_infinity is None else _interval(point.at_infinity),
            latency=_interval(point.latency),
            front_probability=f"{point.front_probability:.0%}",
            verdict=point.verdict,
        )


def _interval(found: Interval) -> str:
    return f"{found.value:.4g} ± {found.half_width:.2g}"
