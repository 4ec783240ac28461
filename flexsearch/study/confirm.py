"""Confirmation: finished candidates measured again under several fresh seeds, one seed after the other.

The search has seen none of the seeds: what chose a candidate cannot confirm it. Under one seed all candidates see the
same noise and the same conditions.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from flexsearch.study.baselines import is_kept
from flexsearch.study.executor import run_locally
from flexsearch.study.lock import one_driver
from flexsearch.study.repeats import OrderQueue
from flexsearch.study.storage import clear_faults
from flexsearch.study.store import Store, TrialRecord
from flexsearch.trial.contract import TrialOrder

FIRST_SEED = 10_000


def fresh_seeds(study_seed: int, num: int) -> list[int]:
    """Give seeds that no trial and no measurement of the noise has used; the first stay as `num` grows."""
    return [study_seed + FIRST_SEED + index for index in range(num)]


def confirmations(
    store: Store, records: Sequence[TrialRecord], *, seeds: Sequence[int], images: int, run_dir: Path
) -> OrderQueue:
    """Order every candidate under every seed with so many images, without those that the store has; all candidates
    under the first seed first."""
    done = store.confirmations().get(images, {})
    orders = [
        TrialOrder(
            number=record.number,
            candidate=record.candidate,
            run_dir=run_dir,
            seed=seed,
            baseline=record.baseline,
            fine_tune=is_kept(record.baseline, record.candidate),
            kind="repeat",
        )
        for seed in seeds
        for record in records
        if seed not in done.get(record.number, {})
    ]
    return OrderQueue(
        orders,
        record=lambda order, result: store.record_confirmation(order.number, result, seed=order.seed, images=images),
        farewell="everything is measured again",
    )


def confirm(
    store: Store,
    records: Sequence[TrialRecord],
    *,
    seeds: Sequence[int],
    images: int,
    run_dir: Path,
    begins: Callable[[OrderQueue], None],
) -> None:
    """Measure what is missing, in this process. The same call goes on after an interruption.

    Args:
        store: of the run; gets the results.
        records: the candidates, measured under each of the sampling seeds.
        images: per candidate and seed.
        begins: called with what is missing, if anything is.

    Raises:
        UserError: the run is being searched, or something that it needs is gone.
    """
    with clear_faults(), one_driver(run_dir, store.engine, store.study):
        missing = confirmations(store, records, seeds=seeds, images=images, run_dir=run_dir)
        if len(missing):
            from flexsearch.trial.remeasure import remeasure

            begins(missing)
            run_locally(missing, partial(remeasure, images=images))
