"""`flexsearch train`: trains an exported recipe for long, with progress on the first process."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flexsearch.cli.terminal import open_terminal
from flexsearch.cli.typed import as_typed
from flexsearch.paths import as_word
from flexsearch.processors import make_way

if TYPE_CHECKING:  # `--help` waits for none of them
    from flexsearch.export.training_log import TrainingRecord

_LINES = 40  # of a whole run, beside the moving bar

command = typer.Typer()


@command.command(epilog="Example: flexsearch train exported/recipe.yaml --updates 1000 --set training.batch=64")
def train(
    recipe: Annotated[Path, typer.Argument(help="recipe.yaml of an exported model", metavar="RECIPE")],
    out: Annotated[Path | None, typer.Option(help="folder of the run; default the export's with -trained")] = None,
    updates: Annotated[int | None, typer.Option(help="optimiser steps; default those of the recipe")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="override a field, e.g. training.batch=64")
    ] = None,
) -> None:
    """Train an exported model for long. The same command resumes; accelerate launch -m flexsearch train: many GPUs."""
    make_way()
    from flexsearch.export import train as training
    from flexsearch.export.processes import Processes
    from flexsearch.export.recipe import RECIPE, load_recipe
    from flexsearch.tracking import check_tracker

    given = [] if updates is None else [f"training.updates={updates}"]
    found = load_recipe(recipe, [*(overrides or ()), *given])
    folder = recipe if recipe.is_dir() else recipe.parent
    here = folder.resolve()
    out = here.with_name(f"{here.name}-trained") if out is None else out
    check_tracker(found.training.log, field="training.log")
    processes = Processes()
    if training.is_finished(out, found):
        if processes.is_first:
            print(
                as_typed(
                    f"{out} is finished: {_quality(out)}. Train it further: flexsearch train {as_word(out / RECIPE)}"
                ),
                file=sys.stderr,
            )
        return
    if processes.is_first:
        print(
            f"{found.chosen}: {found.training.updates} updates of batch {found.training.batch}, {processes}",
            file=sys.stderr,
        )
    with _progress(found.training.updates, visible=processes.is_first) as report:
        training.train(found, folder=folder, out=out, processes=processes, report=report)
    processes.accelerator.end_training()
    if processes.is_first:
        print(f"{out}: trained, rebuilt and compared; {_quality(out)}", file=sys.stderr)
        print(as_typed(f"draw from it: flexsearch sample {as_word(out)} --out samples.png"), file=sys.stderr)


def _quality(out: Path) -> str:
    """Say the first and the last value of the objective."""
    from flexsearch.export.training_log import read_evaluations

    found = read_evaluations(out)
    values = [f"{measured[0].name} {measured[0].value:.4g} after {at} updates" for at, measured in found.items()]
    return ", ".join(dict.fromkeys((values[0], values[-1]))) if values else "quality was not measured"


@contextmanager
def _progress(updates: int, *, visible: bool) -> Iterator[Callable[["TrainingRecord"], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=open_terminal(stderr=True), disable=not visible) as progress:
        task = progress.add_task("training", total=updates)
        losses: list[float] = []
        every = max(1, updates // _LINES)

        def report(record: "TrainingRecord") -> None:
            progress.update(task, completed=record.update)
            if record.loss is not None:
                losses.append(record.loss)
            if losses and record.update % every == 0:
                mean = sum(losses) / len(losses)
                losses.clear()
                progress.console.print(f"update {record.update}: loss {mean:.4f}, {record.images_per_s:.0f} images/s")
            for found in record.measured:
                progress.console.print(f"update {record.update}: {found.name} {found.value:.4g}")

        yield report
