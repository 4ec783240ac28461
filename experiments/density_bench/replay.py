"""Answer trials from a table: a search policy is compared in seconds, on evaluations that were really made.

The table is a data frame with one row per candidate, seed and fine-tune length, as a tabular benchmark stores them:
NAS-Bench-101 (arXiv 1902.09635) did this for architectures, HW-NAS-Bench (arXiv
2103.10584) with latencies. Columns that are read: `digest`, `seed`, `updates`, the objectives' names, `macs`,
`seconds_training` (of the fine-tune up to here) and `seconds_judging` (of this row's measurement).
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from flexsearch.errors import UserError
from flexsearch.measurement import Measurement
from flexsearch.schedule.candidate import Candidate
from flexsearch.trial.contract import Progress, Report, Rung, TrialOrder, TrialResult

_COLUMNS = ("digest", "seed", "updates", "macs", "seconds_training", "seconds_judging")


class Replay:
    """Run trials by looking them up. What is not fine-tuned has rows of 0 updates.

    A schedule that was fine-tuned to the end is not again: what samples it in another way is judged alone.

    Args:
        table: the rows.
        objectives: names of the measurements, quality first; columns of the table.
        updates: length of a trial's fine-tune.
        rungs: fine-tuning updates at which a trial is compared with others; rows of the table.
        seed: of the table's fine-tunes; the search's own seed decides only what is proposed.

    Raises:
        UserError: a column, a length or the seed is missing.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        *,
        objectives: Sequence[str],
        updates: int,
        rungs: Sequence[int] = (),
        seed: int = 0,
    ) -> None:
        missing = [name for name in (*_COLUMNS, *objectives) if name not in table.columns]
        if missing:
            raise UserError(f"has no column {missing[0]!r}", field="table")
        table = table[table["seed"] == seed]
        if table.empty:
            raise UserError(f"has no rows of seed {seed}", field="table")
        lengths = sorted(int(length) for length in table["updates"].unique())
        for length in (*rungs, updates):
            if length not in lengths:
                nearest = min(lengths, key=lambda known: abs(known - length))
                raise UserError(f"has no fine-tunes of {length} updates", field="table", nearest=nearest)
        self._objectives = tuple(objectives)
        self._updates, self._rungs = updates, tuple(rungs)
        columns = [*_COLUMNS, *objectives]
        self._trained: set[str] = set()
        self._rows = {(row["digest"], row["updates"]): row for row in table[columns].to_dict("records")}

    def __call__(self, order: TrialOrder, report: Report) -> TrialResult:
        """Run one trial, with the measurements and the seconds of the table.

        Raises:
            UserError: the table lacks the candidate.
        """
        rungs: list[Rung] = []
        judging, schedule = 0.0, order.candidate.schedule.digest
        is_trained = schedule in self._trained
        lengths = (*(() if is_trained else self._rungs), self._updates) if order.fine_tune else (0,)
        for updates in lengths:
            row = self._row(order.candidate, updates)
            judging += row["seconds_judging"]
            seconds = {"fine-tune": 0.0 if is_trained else row["seconds_training"], "judge": judging}
            found = {name: _measurement(name, row[name]) for name in (*self._objectives, "macs")}
            if updates == lengths[-1]:
                self._trained |= {schedule} if order.fine_tune else set()
                return TrialResult(state="complete", measurements=found, rungs=tuple(rungs), seconds=seconds)
            rungs.append(Rung(updates=updates, quality=row[self._objectives[0]]))
            del found[self._objectives[0]]
            so_far = TrialResult(
                state="pruned",
                measurements=found,
                rungs=tuple(rungs),
                seconds=seconds,
                reason=f"others were better after {updates} fine-tuning updates",
            )
            if not report(Progress(phase="rung", so_far=so_far)):
                return so_far
        raise AssertionError("the last row completes a trial")

    def _row(self, candidate: Candidate, updates: int) -> Mapping[Hashable, Any]:
        key = (candidate.digest, updates)
        if key not in self._rows:
            raise UserError(f"does not hold {candidate} after {updates} updates", field="table")
        return self._rows[key]


def _measurement(name: str, value: float) -> Measurement:
    unit = "ms/image" if name == "latency_ms" else "MACs/forward" if name == "macs" else "1"
    return Measurement(name=name, value=float(value), unit=unit, protocol={"by": "replay"})
