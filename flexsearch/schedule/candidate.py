"""Say what a trial evaluates: a density schedule plus its sampling."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flexsearch.measurement import short_digest
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.role import ROLES
from flexsearch.schedule.sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A schedule and how it samples. A gain of the skip is 1 where no block merges sparse tokens into waiting ones."""

    schedule: DensitySchedule
    sampling: Sampling

    def __post_init__(self) -> None:
        gain = self.sampling.gain
        if gain.skip != 1 and not any(ROLES[role].recovers for role in set(self.schedule.roles)):
            plain = replace(self.sampling, gain=replace(gain, skip=1.0))
            object.__setattr__(self, "sampling", plain)  # equal things share a digest

    @property
    def digest(self) -> str:
        """Identify what the candidate does."""
        sampling = self.sampling.spelled(num_blocks=self.schedule.num_blocks)
        return short_digest({"schedule": self.schedule.digest, **sampling})

    @property
    def reuses(self) -> bool:
        """Whether some step takes from others what it does not compute."""
        sampling = self.sampling
        return bool(sampling.cache.spelled(sampling.num_patterned, num_blocks=self.schedule.num_blocks))

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values; `from_dict` is the inverse."""
        return {**self.schedule.to_dict(), **self.sampling.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Candidate":
        """Build a candidate from JSON values; raises `UserError` as `DensitySchedule.from_dict` does."""
        return cls(schedule=DensitySchedule.from_dict(values), sampling=Sampling.from_dict(values))

    def __str__(self) -> str:
        return f"{self.schedule} {self.sampling}"
