"""Time finished trials again, interleaved: on a machine that was not quiet, and before something is claimed.

A trial's own latency, by which the search went, stays in its measurements; fronts take the later one.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from flexsearch.study.lock import one_driver
from flexsearch.study.storage import clear_faults
from flexsearch.study.store import Cost, Store, TrialRecord

AT_ONCE = 24
"""Trials that are interleaved. They share one model, and every repetition goes through all of them."""
_COST = "timing: again"


def time_again(
    store: Store, records: Sequence[TrialRecord], *, run_dir: Path, report: Callable[[int, int], None]
) -> None:
    """Time trials on this machine, and keep what is done after every `AT_ONCE` of them.

    Args:
        store: of the run; gets the latencies.
        records: complete trials.
        run_dir: the run directory.
        report: called with (trials done, trials in all).

    Raises:
        UserError: the run is being searched, or its trials were timed on other hardware.
    """
    with clear_faults(), one_driver(run_dir, store.engine, store.study):
        from flexsearch.trial.timing import time_together

        for start in range(0, len(records), AT_ONCE):
            lot = records[start : start + AT_ONCE]
            begun = time.monotonic()
            latencies = time_together([record.candidate for record in lot], run_dir)
            for record, (latency, *beside) in zip(lot, latencies, strict=True):
                store.record_timing(record.number, latency, *beside)
            before = sum(cost.seconds for cost in store.costs() if cost.what == _COST)
            device = str(latencies[0][0].protocol["device"])
            store.record_cost(Cost(what=_COST, seconds=before + time.monotonic() - begun, device=device))
            report(start + len(lot), len(records))
