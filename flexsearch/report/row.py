"""The row of a trial in every table, page and file, and how its values are printed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flexsearch.measurement import Measurement
from flexsearch.report.confirmation import ConfirmedPoint
from flexsearch.report.gain import Gain
from flexsearch.report.points import is_free, is_plain
from flexsearch.study.store import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Row:
    """A complete trial of a front.

    Attributes:
        record: the trial.
        quality: as the search measured it, like all but `confirmed`.
        latency: ms per image.
        dense_macs: of the dense base at as many steps, nothing reused; None before it is measured.
        gain: over what is free.
        is_on_front: no other trial dominates it.
        predicted_distance: after long training; None where no paired distance was measured.
        is_on_predicted_front: no other trial dominates it in predicted distance and latency.
        confirmed: what was measured again; None where nothing was.
        gain_again: over what is free, of what was measured again.
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
    gain_again: Gain | None

    @property
    def is_compared(self) -> bool:
        """Whether its gain says anything: a free baseline is what others are compared with."""
        return self.record.baseline is None or not is_free(self.record)

    @property
    def macs(self) -> float:
        return self.record.measurements["macs"].value

    @property
    def macs_ratio(self) -> float | None:
        """MACs over the dense base's at as many steps, nothing reused."""
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
            "free": is_free(self.record),
            "schedule": self.record.candidate.to_dict(),
            "sampling": str(self.record.candidate.sampling),
            "gain": self.gain.to_dict(),
        }
        if self.predicted_distance is not None:
            row["predicted_distance"] = self.predicted_distance
        if self.confirmed is not None and self.gain_again is not None:
            row["confirmed"] = {**self.confirmed.to_dict(), "gain": self.gain_again.to_dict()}
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
            self.quality.name: self.quality.value,
            self.latency.name: self.latency.value,
            "latency_spread": self.latency.spread,
            "macs": self.macs,
            "macs_ratio": self.macs_ratio,
            **{f"gain_{name}" if name.startswith("over") else name: v for name, v in self.gain.to_dict().items()},
            "predicted_distance": self.predicted_distance,
            "predicted_front": self.is_on_predicted_front,
            "digest": self.record.digest,
        }

    @property
    def printed(self) -> Mapping[str, str]:
        """Every value as text; empty where there is none."""
        candidate, again, found = self.record.candidate, self.confirmed, self.gain
        star = "*" if self.is_on_predicted_front else " "
        return {
            "trial": str(self.record.number),
            "free": "free" if is_free(self.record) else "",
            "baseline": self.record.baseline or "",
            "schedule": str(candidate.schedule),
            "sampling": str(candidate.sampling),
            "quality": f"{self.quality.value:.2f}",
            "latency": three_digits(self.latency.value),
            "spread": "" if self.latency.spread is None else f"± {self.latency.spread:.1g}",
            "macs": "" if self.macs_ratio is None else f"{self.macs_ratio:.0%}",
            "speedup": "" if is_plain(self.record) or found.speedup is None else f"{found.speedup:.2f}x",
            "gain": self._printed_gain(found),
            "over_found": "" if found.over_found is None else f"{found.over_found:+.2f}",
            "predicted_distance": "" if self.predicted_distance is None else f"{self.predicted_distance:.1f}{star}",
            "again": "" if again is None else str(again.quality),
            "at_infinity": "" if again is None or again.at_infinity is None else str(again.at_infinity),
            "latency_again": "" if again is None else str(again.latency),
            "gain_again": "" if self.gain_again is None else self._printed_gain(self.gain_again),
            "front_probability": "" if again is None else f"{again.front_probability:.0%}",
            "verdict": "" if again is None else again.verdict,
        }

    def _printed_gain(self, gain: Gain) -> str:
        if not self.is_compared:
            return ""
        return "fastest" if gain.quality is None else f"{gain.quality:+.2f}"


def three_digits(value: float) -> str:
    """Print three significant digits, zeros included."""
    return f"{value:#.3g}".rstrip(".")
