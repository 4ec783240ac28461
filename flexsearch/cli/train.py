"""`flexsearch train`: the long fine-tune of an exported recipe, with progress on the first process."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flexsearch.export.training_log import TrainingNews, read_evaluations
from flexsearch.export.processes import Processes
from flexsearch.export.recipe import RECIPE, load_recipe
from flexsearch.export.train import is_finished, train

_LINES = 40  # of a whole run, beside the moving bar


def train_recipe(path: Path, *, out: Path | None, overrides: Sequence[str]) -> None:
    """Trains as `flexsearch.export.train` says, and tells how it goes on stderr."""
    recipe = load_recipe(path, overrides)
    folder = path if path.is_dir() else path.parent
    here = folder.resolve()
    out = here.with_name(f"{here.name}-trained") if out is None else out
    processes = Processes(log=recipe.training.log, out=out)
    if is_finished(out, recipe):
        if processes.is_first:
            print(
                f"{out} is finished: {_quality(out)}. Train it further: flexsearch train {out / RECIPE}",
                file=sys.stderr,
            )
        return
    if processes.is_first:
        print(
            f"{recipe.chosen}: {recipe.training.updates} updates of batch {recipe.training.batch}, {processes}",
            file=sys.stderr,
        )
    with _progress(recipe.training.updates, visible=processes.is_first) as report:
        train(recipe, folder=folder, out=out, processes=processes, report=report)
    processes.end()
    if processes.is_first:
        print(f"{out}: trained, rebuilt and compared; {_quality(out)}", file=sys.stderr)
        print(f"draw from it: flexsearch sample {out} --out samples.png", file=sys.stderr)


def _quality(out: Path) -> str:
    """The objective, first and last."""
    found = read_evaluations(out)
    values = [f"{measured[0].name} {measured[0].value:.4g} after {at} updates" for at, measured in found.items()]
    return ", ".join(dict.fromkeys((values[0], values[-1]))) if values else "quality was not measured"


@contextmanager
def _progress(updates: int, *, visible: bool) -> Iterator[Callable[[TrainingNews], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not visible) as progress:
        task = progress.add_task("training", total=updates)
        losses: list[float] = []
        every = max(1, updates // _LINES)

        def report(news: TrainingNews) -> None:
            progress.update(task, completed=news.update)
            if news.loss is not None:
                losses.append(news.loss)
            if losses and news.update % every == 0:
                mean = sum(losses) / len(losses)
                losses.clear()
                progress.console.print(f"update {news.update}: loss {mean:.4f}, {news.images_per_s:.0f} images/s")
            for found in news.measured:
                progress.console.print(f"update {news.update}: {found.name} {found.value:.4g}")

        yield report
