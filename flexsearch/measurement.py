"""A measured number never travels alone: value, unit, spread and how it was measured."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flexsearch.old_names import MEASUREMENTS, protocol_as_of_today


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def short_digest(value: Any) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:12]


def rounded(spread: float, digits: int) -> str:
    """Print a spread to so many significant digits, never as a power of ten."""
    if spread == 0 or not math.isfinite(spread):
        return f"{spread:g}"
    places = digits - 1 - math.floor(math.log10(abs(spread)))
    return f"{round(spread, places):.{max(0, places)}f}"


def counted(number: float) -> str:
    """Print a large count: "23.72 T", "118.62 G", "266.4 M"."""
    if number >= 1e13:
        return f"{number / 1e12:.2f} T"
    return f"{number / 1e9:.2f} G" if number >= 1e9 else f"{number / 1e6:.1f} M"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number with its unit, its spread and its protocol.

    Attributes:
        name: what was measured, unit included where it has one, e.g. "latency_ms".
        value: the number.
        unit: e.g. "ms/image", "MACs", "1".
        spread: half-width of the interval that holds the middle half of the repetitions, in `unit`; None if there
            was only one repetition.
        protocol: how it was measured (images, sampler, seed, device, dtype, ...). JSON values only.
    """

    name: str
    value: float
    unit: str
    spread: float | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_finite(self) -> bool:
        """Whether value and spread are numbers that can be compared."""
        return math.isfinite(self.value) and math.isfinite(self.spread or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; `from_dict` is the inverse."""
        return {**vars(self), "protocol": dict(self.protocol)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Measurement":
        """Build a measurement from JSON values."""
        name, protocol = values["name"], protocol_as_of_today(values["protocol"])
        return cls(**{**values, "name": MEASUREMENTS.get(name, name), "protocol": protocol})
