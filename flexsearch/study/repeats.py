"""Measure finished trials again: under other seeds, for the noise."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from flexsearch.study.evenly import evenly
from flexsearch.study.events import Ended, Moved, Started, Watched
from flexsearch.study.executor import Finished, Wait
from flexsearch.study.store import Store, TrialRecord
from flexsearch.trial.contract import Progress, TrialOrder, TrialResult


class OrderQueue(Watched):
    """Hand out orders that are known from the start in turn, one at a time of each trial.

    Args:
        orders: run once each.
        record: keeps a result.
        farewell: the reason for which it ends.
    """

    def __init__(
        self, orders: Iterable[TrialOrder], *, record: Callable[[TrialOrder, TrialResult], None], farewell: str
    ) -> None:
        super().__init__()
        self._waiting = deque(orders)
        self._record = record
        self._farewell = farewell
        self._live: dict[int, TrialOrder] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> Sequence[TrialOrder]:
        """The orders that are not begun."""
        return tuple(self._waiting)

    def next(self) -> TrialOrder | Wait | Finished:
        order = next((order for order in self._waiting if order.number not in self._live), None)
        if order is None:
            return Wait() if self._live or self._waiting else Finished(self._farewell)
        self._waiting.remove(order)
        self._live[order.number] = order
        self.announce(Started(order=order))
        return order

    def progressed(self, number: int, progress: Progress) -> bool:
        self.announce(Moved(number=number, progress=progress))
        return True

    def finished(self, number: int, result: TrialResult) -> None:
        self._record(self._live.pop(number), result)
        self.announce(Ended(number=number, state=result.state, result=result))

    def crashed(self, number: int, reason: str) -> None:
        self._live.pop(number)
        self.announce(Ended(number=number, state="failed", reason=reason))

    def interrupted(self, number: int) -> None:
        self._waiting.append(self._live.pop(number))


def repetitions(
    store: Store, records: Sequence[TrialRecord], *, seeds: Sequence[int], run_dir: Path, objective: str
) -> OrderQueue:
    """Order trials under other seeds, without those that the store has."""
    done = store.repetitions(objective)
    return OrderQueue(
        [
            TrialOrder(number=one.number, candidate=one.candidate, run_dir=run_dir, seed=seed, kind="repeat")
            for seed in seeds
            for one in records
            if seed not in done.get(one.number, {})
        ],
        record=lambda order, result: store.record(order.number, result, seed=order.seed),
        farewell="the noise is measured",
    )


def schedules_to_repeat(records: Sequence[TrialRecord], *, objective: str, num: int) -> list[TrialRecord]:
    """Pick `num` searched trials, evenly over the better half by `objective`."""
    searched = [record for record in records if record.state == "complete" and record.baseline is None]
    searched.sort(key=lambda record: record.measurements[objective].value)
    return evenly(searched[: max(num, (len(searched) + 1) // 2)], num)
