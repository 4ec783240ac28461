"""`flexsearch run`: runs or resumes a search with live progress, then prints and writes its front."""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flexsearch.cli.front import print_front, write_front
from flexsearch.cli.options import Overrides, Space
from flexsearch.cli.terminal import open_terminal
from flexsearch.errors import UserError

if TYPE_CHECKING:  # `--help` waits for none of them
    from flexsearch.cli.progress import SearchProgress
    from flexsearch.config import RunConfig
    from flexsearch.report.front import Front
    from flexsearch.study.executor import ExecutorName
    from flexsearch.study.store import Store

command = typer.Typer()


@command.command(epilog="Example: flexsearch run search_spaces/quickstart.yaml --trials 30")
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
    overrides: Overrides = None,
) -> None:
    """Search. The same command resumes; it ends with the front as a table and says where everything is."""
    from flexsearch.config import load_config, resumed

    options = {"search.trials": trials, "search.seed": seed, "storage": storage}
    given = [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    config = load_config(space, [*(overrides or ()), *given])
    folder = run_dir or Path("runs") / config.name
    kept = resumed(config, folder, storage=storage)
    if kept.sampling.spacing != config.sampling.spacing:
        print(f"note: {folder} goes on with sampling.spacing={kept.sampling.spacing}, as it began", file=sys.stderr)
    _search(kept, run_dir=folder, executor=executor, ray_address=ray_address)


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


def _search(config: "RunConfig", *, run_dir: Path, executor: "ExecutorName", ray_address: str | None) -> None:

    from flexsearch.cli.progress import SearchProgress
    from flexsearch.report.claim import headline
    from flexsearch.study.executor import choose_executor
    from flexsearch.study.run import RunPlan, run_search

    if choose_executor(executor, config.resources, address=ray_address).name == "ray":
        from flexsearch.study.ray_tune import check_cluster

        check_cluster(ray_address)
    terminal = open_terminal(stderr=True)
    progress = SearchProgress(terminal, objectives=config.objectives.names)
    begun = time.monotonic()
    plan = RunPlan(
        name=config.name,
        settings=config.trial_settings,
        search=config.search,
        resources=config.resources,
        config=config.to_dict(),
        save=config.save,
        run_dir=run_dir,
        executor=executor,
        storage=config.storage,
        ray_address=ray_address,
    )
    with progress.log_to(run_dir):
        store = run_search(plan, progress)
        front = _timed_again(store, progress, config=config, run_dir=run_dir)
    write_front(front, csv=run_dir / "front.csv", plot=run_dir / "front.png")
    print_front(front, open_terminal())
    terminal.print(f"{time.monotonic() - begun:.0f} s. Everything is in {run_dir}; see also:", highlight=False)
    _, claimed = headline(front.best_known, quality=front.objectives[0].name)
    best = 0 if claimed is None else claimed.record.number
    for line in (f"dashboard {run_dir}", f"show {run_dir} {best}", f"export {run_dir} {best} exported"):
        terminal.print(f"  flexsearch {line}", highlight=False)
