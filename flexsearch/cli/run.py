"""`flexsearch run`: runs or resumes a search with live progress, then prints and writes its front."""

import json
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flexsearch.cli.front import print_front, write_front
from flexsearch.cli.options import Overrides, Space
from flexsearch.cli.terminal import open_terminal
from flexsearch.cli.typed import as_typed
from flexsearch.errors import Note, UserError
from flexsearch.paths import as_word
from flexsearch.processors import make_way

if TYPE_CHECKING:  # `--help` waits for none of them
    from rich.console import Console

    from flexsearch.cli.progress import SearchProgress
    from flexsearch.config import RunConfig
    from flexsearch.report.front import Front
    from flexsearch.study.executor import ExecutorName
    from flexsearch.study.store import Store

command = typer.Typer()


@command.command(epilog="Example: flexsearch run quickstart --trials 30")
def run(
    space: Space,
    run_dir: Annotated[Path | None, typer.Option(help="run directory; default runs/<name>")] = None,
    trials: Annotated[int | None, typer.Option(help="finished trials to reach")] = None,
    seed: Annotated[int | None, typer.Option(help="of search algorithm, training and noise")] = None,
    executor: Annotated[Literal["auto", "local", "ray"], typer.Option(help="where trials run")] = "auto",
    storage: Annotated[
        str | None, typer.Option(help="SQLAlchemy URL; default FLEXSEARCH_STORAGE, else RUN/study.db")
    ] = None,
    ray_address: Annotated[str | None, typer.Option(help="of a running Ray cluster")] = None,
    hours: Annotated[float | None, typer.Option(help="end within them; the same command goes on", min=0.0)] = None,
    start_from: Annotated[
        Path | None,
        typer.Option("--from", help="another run: takes its results if the protocol is the same, else its front"),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Search, or go on with a search. It ends with the front as a table and says where everything is."""
    make_way()
    from flexsearch.config import load_config
    from flexsearch.report.claim import headline
    from flexsearch.report.trial_word import BEST

    options = {"search.trials": trials, "search.seed": seed, "storage": storage}
    given = [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    config = load_config(space, [*(overrides or ()), *given])
    folder = run_dir or Path("runs") / config.name
    terminal, begun = open_terminal(stderr=True), time.monotonic()
    front = search_into(
        folder,
        config,
        storage=storage,
        executor=executor,
        ray_address=ray_address,
        hours=hours,
        start_from=start_from,
        terminal=terminal,
    )
    print_front(front, open_terminal(), run_dir=folder)
    terminal.print(f"{time.monotonic() - begun:.0f} s. Everything is in {folder}. What next:", highlight=False)
    where, page = as_word(folder), as_word(f"{config.name}.html")
    _, found = headline(front.best_known, quality=config.objectives.names[0])
    best = BEST if found is not None else front.points[-1].number
    for hint in (
        f"choose {where} --knee",
        f"report {where} {page}",
        f"confirm {where}",
        f"export {where} {best} exported",
    ):
        terminal.print(as_typed(f"  flexsearch {hint}"), highlight=False, soft_wrap=True)


def search_into(
    run_dir: Path,
    config: "RunConfig",
    *,
    storage: str | None,
    executor: "ExecutorName",
    ray_address: str | None,
    hours: float | None,
    start_from: Path | None,
    terminal: "Console",
) -> "Front":
    """Search, or go on, with progress on a terminal; write the front into the run directory and give it."""
    from flexsearch.cli.progress import SearchProgress
    from flexsearch.config import resumed
    from flexsearch.study.executor import choose_executor
    from flexsearch.study.run import run_search

    kept = resumed(config, run_dir, storage=storage)
    if kept.sampling.spacing != config.sampling.spacing:
        text = f"{run_dir} goes on with sampling.spacing={kept.sampling.spacing}, as it began"
        warnings.warn(text, Note, stacklevel=2)
    if choose_executor(executor, kept.resources, address=ray_address).name == "ray":
        from flexsearch.study.ray_address import check_cluster

        check_cluster(ray_address)
    forerunner = None
    if start_from is not None:
        from flexsearch.cli.results import open_run
        from flexsearch.study.forerunner import Forerunner

        forerunner = Forerunner(**vars(open_run(start_from)))
    plan = kept.plan(run_dir, executor=executor, ray_address=ray_address, hours=hours, forerunner=forerunner)
    progress = SearchProgress(terminal, settings=kept.trial_settings, search=kept.search)
    with progress.log_to(run_dir):
        store = run_search(plan, progress)
        front = _timed_again(store, progress, config=kept, run_dir=run_dir)
    write_front(front, csv=run_dir / "front.csv", plot=run_dir / "front.png")
    return front


def _timed_again(store: "Store", progress: "SearchProgress", *, config: "RunConfig", run_dir: Path) -> "Front":
    """Time what the headline rests on, until it rests on nothing else: a trial with a lucky latency may lose it.

    Every turn times some trial that was not timed again before, so there are few; a run that is done has none.
    """
    from flexsearch.report.front import front_of
    from flexsearch.report.near_front import to_time_again
    from flexsearch.study.time_again import time_again

    front = front_of(store, config.objectives.names)
    while records := to_time_again(front):
        numbers = ", ".join(str(record.number) for record in records)
        progress.message(f"timing again, interleaved, what the headline rests on: trials {numbers}")
        try:
            time_again(store, records, run_dir=run_dir, report=partial(progress.preparing, "timing again"))
        except UserError as error:  # of a cluster's run, whose devices are not this machine's
            progress.message(f"not timed again: {error}")
            break
        front = front_of(store, config.objectives.names)
    return front
