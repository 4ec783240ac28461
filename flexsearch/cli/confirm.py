"""`flexsearch confirm`: measures the front again, with more images, under seeds that the search has not seen."""

import warnings
from dataclasses import replace
from typing import Annotated

import typer

from flexsearch.cli.front import print_front, write_front
from flexsearch.cli.options import AsJson, RunDir, print_json
from flexsearch.cli.terminal import open_terminal
from flexsearch.errors import Note, UserError
from flexsearch.processors import make_way

MORE_IMAGES = 4
MIN_SEEDS = 2

command = typer.Typer()


@command.command(epilog="Example: flexsearch confirm runs/quickstart --top 5 --seeds 4")
def confirm(
    run_dir: RunDir,
    top: Annotated[int | None, typer.Option(help="at most this many searched trials; default all")] = None,
    images: Annotated[
        int | None, typer.Option(help=f"per trial and seed; default {MORE_IMAGES} times the run's")
    ] = None,
    seeds: Annotated[int, typer.Option(help="of the sampling noise, none of them seen by the search")] = 3,
    as_json: AsJson = False,
) -> None:
    """Measure the front again on fresh seeds. Prints a confidence interval for each point and whether it is still on
    the front. The same command goes on where it was interrupted."""

    make_way()
    from flexsearch.cli.progress import SearchProgress
    from flexsearch.cli.results import front_of_run, open_run
    from flexsearch.objectives.fid_infinity import MIN_IMAGES
    from flexsearch.report.confirmation import confirmation_of
    from flexsearch.report.near_front import to_confirm
    from flexsearch.study import confirm as study

    run = open_run(run_dir)
    images = MORE_IMAGES * run.settings.objectives.quality.images if images is None else images
    for field, value, least in (("--images", images, MIN_IMAGES), ("--seeds", seeds, MIN_SEEDS), ("--top", top, 1)):
        if value is not None and value < least:
            raise UserError(f"must be at least {least}, but got {value}", field=field, nearest=least)
    records = to_confirm(front_of_run(run), top=top)
    if not records:
        raise UserError("has no complete trial to confirm", field=str(run_dir), nearest="flexsearch run")
    if images < (searched := run.settings.objectives.quality.images):
        text = f"--images {images} are fewer than the run's {searched}: intervals will say little"
        warnings.warn(text, Note, stacklevel=2)
    progress = SearchProgress(open_terminal(stderr=True), settings=run.settings, search=run.search)
    numbers = ", ".join(str(record.number) for record in records)
    why = "" if top is None else f", and of the searched ones the {top} that add most to the front"
    with progress.log_to(run_dir):
        progress.message(f"to measure again: trials {numbers} (the strongest baselines{why})")
        study.confirm(
            run.store,
            records,
            seeds=study.fresh_seeds(run.search.seed, seeds),
            images=images,
            run_dir=run_dir,
            begins=lambda orders: orders.watch(progress.confirming(orders, images=images, records=records)),
        )
    found = confirmation_of(run.store.confirmations(), run.settings.objectives.names, images=images)
    if found is None:
        raise UserError(f"no candidate could be measured; why is in {run_dir / 'run.log'}", field=str(run_dir))
    front = replace(front_of_run(run), confirmation=found)
    write_front(front, csv=run_dir / "front.csv", plot=run_dir / "front.png")
    if as_json:
        print_json(front.to_dict())
    else:
        print_front(front, open_terminal(), run_dir=run_dir)
