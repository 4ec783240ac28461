"""Answer trials from a table: a search policy is compared in seconds, on evaluations that were really made.

The table is a data frame with one row per candidate and seed, as a tabular benchmark stores them: NAS-Bench-101 (arXiv
1902.09635) did this for architectures, HW-NAS-Bench (arXiv 2103.10584) with latencies. Columns that are read: `digest`,
`seed`, the objectives' names, `macs`, `seconds_training` and `seconds_judging`.
"""

from collections.abc import Sequence

import pandas as pd

from flexsearch.errors import UserError
from flexsearch.measurement import Measurement
from flexsearch.trial.contract import Report, TrialOrder, TrialResult

_COLUMNS = ("digest", "seed", "macs", "seconds_training", "seconds_judging")


class Replay:
    """Run trials by looking them up.

    A schedule that was fine-tuned is not again: what samples it in another way costs its samples alone.

    Args:
        table: the rows.
        objectives: names of the measurements, quality first; columns of the table.
        seed: of the table's fine-tunes and noise; the search's own seed decides only what is proposed.

    Raises:
        UserError: a column or the seed is missing.
    """

    def __init__(self, table: pd.DataFrame, *, objectives: Sequence[str], seed: int = 0) -> None:
        missing = [name for name in (*_COLUMNS, *objectives) if name not in table.columns]
        if missing:
            raise UserError(f"has no column {missing[0]!r}", field="table")
        table = table[table["seed"] == seed]
        if table.empty:
            raise UserError(f"has no rows of seed {seed}", field="table")
        self._reported = (*objectives, "macs")
        self._rows = table.set_index("digest").to_dict("index")
        self._trained: set[str] = set()

    def __call__(self, order: TrialOrder, report: Report) -> TrialResult:
        """Run one trial, with the measurements and the seconds of the table.

        Raises:
            UserError: the table lacks the candidate.
        """
        schedule = order.candidate.schedule
        row = self._rows.get(order.candidate.digest)
        if row is None:
            raise UserError(f"does not hold {order.candidate}", field="table")
        trains = not schedule.is_dense and schedule.digest not in self._trained
        self._trained |= {schedule.digest} if trains else set()
        seconds = {"fine-tune": row["seconds_training"]} if trains else {}
        return TrialResult(
            state="complete",
            measurements={name: _measurement(name, row[name]) for name in self._reported},
            seconds={**seconds, "score": row["seconds_judging"]},
        )


def _measurement(name: str, value: float) -> Measurement:
    unit = "ms/image" if name == "latency_ms" else "MACs/image" if name == "macs" else "1"
    return Measurement(name=name, value=float(value), unit=unit, protocol={"by": "replay"})
