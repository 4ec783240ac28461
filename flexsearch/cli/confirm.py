"""`flexsearch confirm`: the front measured again, with more images, under seeds that the search has not seen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console as Terminal

from flexsearch.cli.progress import SearchProgress
from flexsearch.cli.results import front_of_run, open_run, print_confirmation, write_front
from flexsearch.errors import UserError
from flexsearch.objectives.fid_infinity import MIN_IMAGES
from flexsearch.report.confirmation import confirmation_of
from flexsearch.report.near_front import to_confirm
from flexsearch.study.confirm import confirm, fresh_seeds

MORE_IMAGES = 4
MIN_SEEDS = 2


def confirm_front(run_dir: Path, *, top: int | None, images: int | None, seeds: int, quiet: bool) -> dict[str, Any]:
    """Measures the front and what is near it again, prints what stands, and rewrites `front.csv` and `front.png`.

    Args:
        run_dir: the run directory.
        top: at most this many searched trials, beside the baselines.
        images: per candidate and seed; None is `MORE_IMAGES` times the run's.
        seeds: sampling seeds.
        quiet: print nothing on stdout.

    Returns:
        The front as `front --json` prints it.

    Raises:
        UserError: the run has nothing to confirm, a number is too small, or a model is gone.
    """
    run = open_run(run_dir)
    images = MORE_IMAGES * run.settings.objectives.quality.images if images is None else images
    for field, value, least in (("--images", images, MIN_IMAGES), ("--seeds", seeds, MIN_SEEDS), ("--top", top, 1)):
        if value is not None and value < least:
            raise UserError(f"must be at least {least}, but got {value}", field=field, nearest=least)
    records = to_confirm(front_of_run(run), top=top)
    if not records:
        raise UserError("has no complete trial to confirm", field=str(run_dir), nearest="flexsearch run")
    progress = SearchProgress(Terminal(stderr=True), objectives=run.settings.objectives.names)
    with progress.log_to(run_dir):
        confirm(
            run.store,
            records,
            seeds=fresh_seeds(run.search.seed, seeds),
            images=images,
            run_dir=run_dir,
            begins=lambda orders: orders.watch(progress.repeating(orders, "measuring again")),
        )
    found = confirmation_of(run.store.confirmations(), run.settings.objectives.names, images=images)
    if found is None:
        raise UserError(f"no candidate could be measured; why is in {run_dir / 'run.log'}", field=str(run_dir))
    front = replace(front_of_run(run), confirmation=found)
    write_front(front, csv=run_dir / "front.csv", plot=run_dir / "front.png")
    if not quiet:
        print_confirmation(front, found, Terminal())
    return front.to_dict()
