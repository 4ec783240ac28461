"""How far a search's quality values can be trusted: a few of its schedules, measured again under other seeds.

All trials of a study share one seed, so most of the seed's effect is common to them and cancels in a comparison. What
is left is the paired noise: the standard deviation of values after each seed's mean over the schedules is taken off.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexsearch.study.queue import OrderQueue
from flexsearch.study.store import Store, TrialRecord
from flexsearch.trial.contract import TrialOrder, TrialResult


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviations of one measurement over seeds, in its unit.

    Attributes:
        paired: of the difference of a schedule to the mean of the others under the same seed.
        unpaired: of one schedule's value.
        num_schedules: schedules measured.
        num_seeds: seeds each, the study's own included.
    """

    paired: float
    unpaired: float
    num_schedules: int
    num_seeds: int


def noise_of(values: Mapping[int, Mapping[int, float]]) -> Noise | None:
    """The noise of values by schedule and seed; None unless two schedules share two seeds."""
    seeds = sorted(set.intersection(*(set(row) for row in values.values()))) if values else []
    if len(values) < 2 or len(seeds) < 2:
        return None
    table = [[row[seed] for seed in seeds] for row in values.values()]
    rows, columns = len(table), len(seeds)
    grand = statistics.fmean(value for row in table for value in row)
    of_seed = [statistics.fmean(row[column] for row in table) for column in range(columns)]
    residuals = [
        value - statistics.fmean(row) - of_seed[column] + grand for row in table for column, value in enumerate(row)
    ]
    return Noise(
        paired=math.sqrt(sum(residual**2 for residual in residuals) / ((rows - 1) * (columns - 1))),
        unpaired=math.sqrt(statistics.fmean(statistics.variance(row) for row in table)),
        num_schedules=rows,
        num_seeds=columns,
    )


def schedules_to_repeat(records: Sequence[TrialRecord], *, objective: str, num: int) -> list[TrialRecord]:
    """`num` trained trials spread evenly over the range of `objective`, from good to middling."""
    trained = [record for record in records if record.state == "complete" and record.num_updates]
    trained.sort(key=lambda record: record.measurements[objective].value)
    better_half = trained[: max(num, (len(trained) + 1) // 2)]
    if len(better_half) <= num:
        return better_half
    return [better_half[round(index * (len(better_half) - 1) / max(num - 1, 1))] for index in range(num)]


class Repetitions(OrderQueue):
    """A `TrialSource` of the same schedules under other seeds."""

    def __init__(
        self,
        *,
        store: Store,
        records: Sequence[TrialRecord],
        seeds: Sequence[int],
        run_dir: Path,
        objective: str,
    ) -> None:
        done = store.repetitions(objective)
        orders = [
            TrialOrder(number=record.number, candidate=record.candidate, run_dir=run_dir, seed=seed, kind="repeat")
            for seed in seeds
            for record in records
            if seed not in done.get(record.number, {})
        ]

        def record(order: TrialOrder, result: TrialResult) -> None:
            store.record(order.number, result, seed=order.seed)

        super().__init__(orders, record=record, farewell="the noise is measured")
