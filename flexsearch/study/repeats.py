"""Further measurements of finished trials: under other seeds for the noise, and after longer fine-tunes.

A long fine-tune runs under the study's own seed. Its quality is kept as a rung beyond the trial's own length, so that
every ranking of a run is read from one place (`report/trust.py`).
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from flexsearch.study.events import Ended, Moved, Started, Watched
from flexsearch.study.executor import Finished, Wait
from flexsearch.study.store import Store, TrialRecord
from flexsearch.trial.contract import Progress, TrialOrder, TrialResult

T = TypeVar("T")


class OrderQueue(Watched):
    """Hands out orders that are known from the start in turn, one at a time of each trial.

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
    """Orders trials under other seeds, without those that the store has."""
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


def long_fine_tunes(
    store: Store, records: Sequence[TrialRecord], *, updates: int, run_dir: Path, objective: str
) -> OrderQueue:
    """Orders trials with more fine-tuning updates, without those that the store has."""
    return OrderQueue(
        [
            TrialOrder(
                number=one.number,
                candidate=one.candidate,
                run_dir=run_dir,
                seed=store.seed,
                kind="long",
                updates=updates,
            )
            for one in records
            if one.rung(updates) is None
        ],
        record=lambda order, result: store.record_long(order.number, updates, result, objective=objective),
        farewell="the long fine-tunes are measured",
    )


def schedules_to_repeat(records: Sequence[TrialRecord], *, objective: str, num: int) -> list[TrialRecord]:
    """Picks `num` trained trials, evenly over the better half by `objective`."""
    trained = _trained(records, objective)
    return evenly(trained[: max(num, (len(trained) + 1) // 2)], num)


def schedules_to_prolong(records: Sequence[TrialRecord], *, objective: str, num: int) -> list[TrialRecord]:
    """Picks `num` trained trials at the number of sampler steps that most of them have, evenly over the range of
    `objective`. Only trials at equal steps can be ranked by what training makes of them."""
    trained = _trained(records, objective)
    if num < 2 or not trained:
        return []
    counts = Counter(record.candidate.sampling.steps for record in trained)
    steps = max(sorted(counts), key=lambda one: counts[one])
    chosen = evenly([record for record in trained if record.candidate.sampling.steps == steps], num)
    return chosen if len(chosen) > 1 else []


def _trained(records: Sequence[TrialRecord], objective: str) -> list[TrialRecord]:
    trained = [record for record in records if record.state == "complete" and record.num_updates]
    return sorted(trained, key=lambda record: record.measurements[objective].value)


def evenly(items: Sequence[T], num: int) -> list[T]:
    """Picks `num` of the items at even distances, the first and the last among them; all if there are not more."""
    if len(items) <= num:
        return list(items)
    return [items[round(index * (len(items) - 1) / max(num - 1, 1))] for index in range(num)]
