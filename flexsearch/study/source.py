"""What an executor asks of whoever owns the trials."""

from dataclasses import dataclass
from typing import Protocol

from flexsearch.trial.contract import Progress, TrialOrder, TrialResult


@dataclass(frozen=True)
class Wait:
    """Nothing to start now: running trials may still change that."""


@dataclass(frozen=True)
class Finished:
    """Nothing will start any more."""

    reason: str


class TrialSource(Protocol):
    """Hands out trials and takes their results. Lives in the driver process."""

    def next(self) -> TrialOrder | Wait | Finished:
        """The next trial to run; it counts as running until one of the calls below."""

    def progressed(self, number: int, progress: Progress) -> bool:
        """A running trial reports where it is; at a rung, False ends it, and `finished` takes `progress.so_far`."""

    def finished(self, number: int, result: TrialResult) -> None:
        """A trial has a result."""

    def crashed(self, number: int, reason: str) -> None:
        """A trial ended in an error."""

    def interrupted(self, number: int) -> None:
        """A trial lost its worker."""
