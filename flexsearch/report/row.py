"""The row of a trial in every table, page and file, and how its values are printed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flexsearch.latency.settings import EAGER
from flexsearch.measurement import Measurement, rounded
from flexsearch.objectives.settings import SHOWN_BESIDE
from flexsearch.report.confirmation import ConfirmedPoint
from flexsearch.report.gain import Gain
from flexsearch.report.points import FrontPoint, is_free
from flexsearch.report.speedup import Speedup
from flexsearch.study.store import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Row:
    """A complete trial of a front.

    Attributes:
        record: the trial.
        point: its values that are known best: as measured again, if it was.
        speedup: over what is free at equal quality; None of a free baseline, and of a trial that a confirmation left
            out, which nothing is claimed of.
        speedup_over_found: of what was trained, over all that is free, found by the search too; else None.
        quality: as the search measured it.
        latency: ms per image, as the search measured it or timed it again.
        axes: that it uses.
        dense_macs: of the dense base at as many steps, nothing reused; None before it is measured.
        gain: over what is free at equal latency, as searched.
        is_on_front: no other trial dominates it.
        confirmed: what was measured again; None where nothing was.
        is_timed_again: its latency is not its trial's own, but that of a later timing.
    """

    record: TrialRecord
    point: FrontPoint
    speedup: Speedup | None
    speedup_over_found: Speedup | None
    quality: Measurement
    latency: Measurement
    axes: tuple[str, ...]
    dense_macs: float | None
    gain: Gain
    is_on_front: bool
    confirmed: ConfirmedPoint | None
    is_timed_again: bool

    @property
    def macs(self) -> float:
        return self.record.measurements["macs"].value

    @property
    def eager(self) -> Measurement | None:
        """Latency without compilation, where that is another one."""
        return self.record.measurements.get(EAGER)

    @property
    def beside(self) -> dict[str, float]:
        """What was measured of the images beside the objective, and is shown."""
        found = self.record.measurements
        return {name: found[name].value for name in SHOWN_BESIDE if name in found and name != self.quality.name}

    @property
    def macs_ratio(self) -> float | None:
        """MACs over the dense base's at as many steps, nothing reused."""
        return None if self.dense_macs is None else self.macs / self.dense_macs

    def to_dict(self) -> dict[str, Any]:
        """Give a row of `front --json`."""
        row = {
            "trial": self.record.number,
            "values": {found.name: found.value for found in (self.quality, self.latency)},
            **({} if self.eager is None else {EAGER: self.eager.value}),
            "macs": self.macs,
            "macs_ratio": self.macs_ratio,
            "digest": self.record.digest,
            "baseline": self.record.baseline,
            "free": is_free(self.record),
            "schedule": self.record.candidate.to_dict(),
            "sampling": str(self.record.candidate.sampling),
            "speedup": None if self.speedup is None else self.speedup.to_dict(),
            "speedup_over_all_free": None if self.speedup_over_found is None else self.speedup_over_found.to_dict(),
            "gain": self.gain.to_dict(),
            "timed_again": self.is_timed_again,
        }
        if self.beside:
            row["beside"] = self.beside
        if self.confirmed is not None:
            row["confirmed"] = self.confirmed.to_dict()
        return row

    def to_flat(self) -> dict[str, Any]:
        """Give a row of `front.csv`, without what was measured again."""
        return {
            "trial": self.record.number,
            "on_front": self.is_on_front,
            "baseline": self.record.baseline,
            "free": is_free(self.record),
            "schedule": str(self.record.candidate.schedule),
            "steps": self.record.candidate.sampling.steps,
            "sampling": str(self.record.candidate.sampling),
            "axes": " ".join(self.axes),
            self.quality.name: self.quality.value,
            self.latency.name: self.latency.value,
            "latency_spread": self.latency.spread,
            **self.beside,
            "timed_again": self.is_timed_again,
            **({} if self.eager is None else {EAGER: self.eager.value}),
            **{
                f"speedup_{name}": value
                for name, value in ({} if self.speedup is None else self.speedup.to_dict()).items()
            },
            "macs": self.macs,
            "macs_ratio": self.macs_ratio,
            **{f"gain_{name}" if name.startswith("over") else name: v for name, v in self.gain.to_dict().items()},
            "digest": self.record.digest,
        }

    @property
    def printed(self) -> Mapping[str, str]:
        """Every value as text; empty where there is none. Quality and latency are those that are known best."""
        candidate, again, speedup = self.record.candidate, self.confirmed, self.speedup
        spread = self.latency.spread if again is None or self.is_timed_again else again.latency.half_width
        return {
            "trial": str(self.record.number),
            "free": "free" if is_free(self.record) else "",
            "baseline": self.record.baseline or "",
            "schedule": str(candidate.schedule),
            "sampling": str(candidate.sampling),
            "quality": f"{self.point.distance:.2f}",
            "latency": three_digits(self.point.latency_ms),
            "spread": "" if spread is None else f"± {rounded(spread, 1)}",
            "eager": "" if self.eager is None else three_digits(self.eager.value),
            **{name: f"{value:.3g}" for name, value in self.beside.items()},
            "macs": "" if self.macs_ratio is None else f"{self.macs_ratio:.0%}",
            "speedup": "" if speedup is None else speedup.symbol,
            "speedup_interval": "" if speedup is None else speedup.interval,
            "verdict_of_speedup": "" if speedup is None else speedup.verdict,
            "again": "" if again is None else str(again.quality),
            "at_infinity": "" if again is None or again.at_infinity is None else str(again.at_infinity),
            "latency_again": "" if again is None else str(again.latency),
            "front_probability": "" if again is None else f"{again.front_probability:.0%}",
            "verdict": "" if again is None else again.verdict,
        }


def three_digits(value: float) -> str:
    """Print three significant digits, zeros included."""
    return f"{value:#.3g}".rstrip(".")
