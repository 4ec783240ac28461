"""The row of a trial in every table, page and file, and how its values are printed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flexsearch.measurement import Measurement
from flexsearch.report.confirmation import ConfirmedPoint
from flexsearch.report.gain import Gain
from flexsearch.study.store import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Row:
    """A complete trial of a front.

    Attributes:
        record: the trial.
        quality: as the search measured it, like all but `confirmed`.
        latency: ms per image.
        dense_macs: of the dense base under the same sampling; None before it is measured.
        gain: over the dense base.
        is_on_front: no other trial dominates it.
        predicted_distance: after long training; None where no paired distance was measured.
        is_on_predicted_front: no other trial dominates it in predicted distance and latency.
        confirmed: what was measured again; None where nothing was.
    """

    record: TrialRecord
    quality: Measurement
    latency: Measurement
    dense_macs: float | None
    gain: Gain
    is_on_front: bool
    predicted_distance: float | None
    is_on_predicted_front: bool
    confirmed: ConfirmedPoint | None

    @property
    def macs(self) -> float:
        return self.record.measurements["macs"].value

    @property
    def macs_ratio(self) -> float | None:
        """MACs over the dense base's under the same sampling."""
        return None if self.dense_macs is None else self.macs / self.dense_macs

    def to_dict(self) -> dict[str, Any]:
        """Give a row of `front --json`."""
        row = {
            "trial": self.record.number,
            "values": {found.name: found.value for found in (self.quality, self.latency)},
            "macs": self.macs,
            "macs_ratio": self.macs_ratio,
            "digest": self.record.digest,
            "baseline": self.record.baseline,
            "schedule": self.record.candidate.to_dict(),
        }
        if self.predicted_distance is not None:
            row["predicted_distance"] = self.predicted_distance
        if self.confirmed is not None:
            row["confirmed"] = self.confirmed.to_dict()
        return row

    def to_flat(self) -> dict[str, Any]:
        """Give a row of `front.csv`, without what was measured again."""
        return {
            "trial": self.record.number,
            "on_front": self.is_on_front,
            "baseline": self.record.baseline,
            "schedule": str(self.record.candidate.schedule),
            "steps": self.record.candidate.sampling.steps,
            self.quality.name: self.quality.value,
            self.latency.name: self.latency.value,
            "latency_spread": self.latency.spread,
            "macs": self.macs,
            "macs_ratio": self.macs_ratio,
            "speedup_at_same_steps": self.gain.speedup,
            "gain_over_fewer_steps": self.gain.quality,
            "predicted_distance": self.predicted_distance,
            "predicted_front": self.is_on_predicted_front,
            "digest": self.record.digest,
        }

    @property
    def printed(self) -> Mapping[str, str]:
        """Every value as text; empty where there is none."""
        found, again, is_dense = self.gain, self.confirmed, self.record.candidate.schedule.is_dense
        star = "*" if self.is_on_predicted_front else " "
        return {
            "trial": str(self.record.number),
            "baseline": self.record.baseline or "",
            "schedule": str(self.record.candidate.schedule),
            "steps": str(self.record.candidate.sampling.steps),
            "quality": f"{self.quality.value:.2f}",
            "latency": three_digits(self.latency.value),
            "spread": "" if self.latency.spread is None else f"± {self.latency.spread:.1g}",
            "macs": "" if self.macs_ratio is None else f"{self.macs_ratio:.0%}",
            "speedup": "" if is_dense or found.speedup is None else f"{found.speedup:.2f}x",
            "gain": "" if is_dense else "fastest" if found.quality is None else f"{found.quality:+.2f}",
            "predicted_distance": "" if self.predicted_distance is None else f"{self.predicted_distance:.1f}{star}",
            "again": "" if again is None else str(again.quality),
            "at_infinity": "" if again is None or again.at_infinity is None else str(again.at_infinity),
            "latency_again": "" if again is None else str(again.latency),
            "front_probability": "" if again is None else f"{again.front_probability:.0%}",
            "verdict": "" if again is None else again.verdict,
        }


def three_digits(value: float) -> str:
    """Print three significant digits, zeros included."""
    return f"{value:#.3g}".rstrip(".")
