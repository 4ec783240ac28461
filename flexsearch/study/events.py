"""Events of a search, and the list of those who watch it."""

from collections.abc import Callable
from dataclasses import dataclass

from flexsearch.study.store import RecordState
from flexsearch.trial.contract import Progress, TrialOrder, TrialResult


@dataclass(frozen=True, kw_only=True)
class Started:
    """A trial begins."""

    order: TrialOrder


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A running trial is somewhere else."""

    number: int
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial has ended; `result` is None unless it ran."""

    number: int
    state: RecordState
    result: TrialResult | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Noted:
    """Something that whoever watches should be told."""

    text: str


Event = Started | Moved | Ended | Noted
Watcher = Callable[[Event], None]


class Watched:
    """Tell watchers of events."""

    def __init__(self) -> None:
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` with every event from now on."""
        self._watchers.append(watcher)

    def announce(self, event: Event) -> None:
        """Call every watcher."""
        for watcher in self._watchers:
            watcher(event)
