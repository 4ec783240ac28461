"""Longer fine-tunes of a few schedules: do short trials rank them as long ones do?

A long fine-tune is a repetition of a trial under the study's own seed with more updates. Its quality is kept as a rung
beyond the trial's own length, so that every ranking of a run stands in one place (`report/trust.py`).
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from flexsearch.study.queue import OrderQueue
from flexsearch.study.store import Store, TrialRecord
from flexsearch.trial.contract import TrialOrder, TrialResult


def schedules_to_prolong(records: Sequence[TrialRecord], *, objective: str, num: int) -> list[TrialRecord]:
    """`num` trained trials at the number of sampler steps that most of them have, spread evenly over the range of
    `objective`. Only trials at equal steps can be ranked by what training makes of them."""
    trained = [record for record in records if record.state == "complete" and record.num_updates]
    if num < 2 or not trained:
        return []
    counts = Counter(record.candidate.sampling.steps for record in trained)
    steps = max(sorted(counts), key=lambda one: counts[one])
    same = [record for record in trained if record.candidate.sampling.steps == steps]
    same.sort(key=lambda record: record.measurements[objective].value)
    if len(same) <= num:
        return same if len(same) > 1 else []
    return [same[round(index * (len(same) - 1) / (num - 1))] for index in range(num)]


class LongFineTunes(OrderQueue):
    """A `TrialSource` of the same schedules, trained for longer; what the store has already is left out."""

    def __init__(
        self,
        *,
        store: Store,
        records: Sequence[TrialRecord],
        updates: int,
        run_dir: Path,
        objective: str,
    ) -> None:
        orders = [
            TrialOrder(
                number=record.number,
                candidate=record.candidate,
                run_dir=run_dir,
                seed=store.seed,
                kind="long",
                updates=updates,
            )
            for record in records
            if record.rung(updates) is None
        ]

        def record(order: TrialOrder, result: TrialResult) -> None:
            store.record_long(order.number, updates, result, objective=objective)

        super().__init__(orders, record=record, farewell="the long fine-tunes are measured")
