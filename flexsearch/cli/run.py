"""`flexsearch run`: runs or resumes a search with live progress, then prints and writes its front."""

import json
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flexsearch.cli.front import print_front, write_front
from flexsearch.cli.options import Overrides, Space
from flexsearch.cli.terminal import open_terminal
from flexsearch.errors import Note

if TYPE_CHECKING:  # `--help` waits for none of them
    from rich.console import Console

    from flexsearch.config import RunConfig
    from flexsearch.report.front import Front
    from flexsearch.study.executor import ExecutorName

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
    """Search. The same command resumes; it ends with the front as a table and says where everything is."""
    from flexsearch.config import load_config
    from flexsearch.report.gain import largest_gain

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
    print_front(front, open_terminal())
    terminal.print(f"{time.monotonic() - begun:.0f} s. Everything is in {folder}; see also:", highlight=False)
    gain = largest_gain(front.as_searched)
    best = gain.point.record.number if gain is not None else 0
    for line in (f"dashboard {folder}", f"show {folder} {best}", f"export {folder} {best} exported"):
        terminal.print(f"  flexsearch {line}", highlight=False)


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
    from flexsearch.report.front import front_of
    from flexsearch.study.executor import choose_executor
    from flexsearch.study.run import run_search

    kept = resumed(config, run_dir, storage=storage)
    if kept.sampling.spacing != config.sampling.spacing:
        text = f"{run_dir} goes on with sampling.spacing={kept.sampling.spacing}, as it began"
        warnings.warn(text, Note, stacklevel=2)
    if choose_executor(executor, kept.resources, address=ray_address).name == "ray":
        from flexsearch.study.ray_tune import check_cluster

        check_cluster(ray_address)
    forerunner = None
    if start_from is not None:
        from flexsearch.cli.results import open_run
        from flexsearch.study.forerunner import Forerunner

        forerunner = Forerunner(**vars(open_run(start_from)))
    plan = kept.plan(run_dir, executor=executor, ray_address=ray_address, hours=hours, forerunner=forerunner)
    progress = SearchProgress(terminal, objectives=kept.objectives.names)
    with progress.log_to(run_dir):
        store = run_search(plan, progress)
    front = front_of(store, kept.objectives.names)
    write_front(front, csv=run_dir / "front.csv", plot=run_dir / "front.png")
    return front
