"""Orders that are known from the start, run once each: a `TrialSource` that decides nothing."""

from collections import deque
from collections.abc import Callable, Iterable

from flexsearch.study.events import Ended, Moved, Started, Watcher
from flexsearch.study.executor import Finished, Wait
from flexsearch.trial.contract import Progress, TrialOrder, TrialResult


class OrderQueue:
    """Hands out orders in turn, one at a time of each trial.

    Args:
        orders: what is to be run.
        record: keeps a result.
        farewell: the reason for which it ends.
    """

    def __init__(
        self, orders: Iterable[TrialOrder], *, record: Callable[[TrialOrder, TrialResult], None], farewell: str
    ) -> None:
        self._waiting = deque(orders)
        self._record = record
        self._farewell = farewell
        self._watchers: list[Watcher] = []
        self._live: dict[int, TrialOrder] = {}

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self) -> TrialOrder | Wait | Finished:
        free = [order for order in self._waiting if order.number not in self._live]
        if free:
            self._waiting.remove(free[0])
            self._live[free[0].number] = free[0]
            for watcher in self._watchers:
                watcher(Started(order=free[0]))
            return free[0]
        return Wait() if self._live or self._waiting else Finished(self._farewell)

    def progressed(self, number: int, progress: Progress) -> bool:
        for watcher in self._watchers:
            watcher(Moved(number=number, progress=progress))
        return True

    def finished(self, number: int, result: TrialResult) -> None:
        self._record(self._live.pop(number), result)
        for watcher in self._watchers:
            watcher(Ended(number=number, state=result.state, result=result))

    def crashed(self, number: int, reason: str) -> None:
        self._live.pop(number)
        for watcher in self._watchers:
            watcher(Ended(number=number, state="failed", reason=reason))

    def interrupted(self, number: int) -> None:
        self._waiting.append(self._live.pop(number))
