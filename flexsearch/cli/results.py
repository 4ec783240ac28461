"""`flexsearch front` and `show`: what a finished or running search has found."""

from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from flexsearch.config import parse_config
from flexsearch.errors import UserError
from flexsearch.report.confirmation import Confirmation
from flexsearch.report.confirmed_table import confirmed_lines, confirmed_table
from flexsearch.report.front import Front, front_of
from flexsearch.report.run import Run
from flexsearch.report.table import front_frame, front_table, summary_lines
from flexsearch.report.trial_page import print_trial, trial_page
from flexsearch.study.storage import connect, storage_url
from flexsearch.study.store import Store


def open_run(run_dir: Path) -> Run:
    """A run directory, to be read.

    Raises:
        UserError: it is not one.
    """
    path = run_dir / "config.yaml"
    if not path.exists():
        raise UserError(
            "is not a run directory: it holds no config.yaml", field=str(run_dir), nearest="runs/quickstart"
        )
    config = parse_config(yaml.safe_load(path.read_text()))
    url = storage_url(run_dir, config.storage)
    store = Store(connect(url), study=config.name, seed=config.search.seed)
    return Run(
        folder=run_dir, name=config.name, settings=config.trial_settings, search=config.search, store=store, url=url
    )


def front_of_run(run: Run) -> Front:
    return front_of(run.store, run.settings.objectives.names)


def show_front(run_dir: Path, *, csv: Path | None, plot: Path | None, quiet: bool) -> dict[str, Any]:
    """Prints the front, and writes it where asked."""
    front = front_of_run(open_run(run_dir))
    if not quiet:
        print_front(front, Console())
    write_front(front, csv=csv, plot=plot)
    return front.to_dict()


def print_front(front: Front, console: Console) -> None:
    console.print(front_table(front))
    for line in summary_lines(front):
        console.print(line, highlight=False)
    if front.confirmation is not None:
        print_confirmation(front, front.confirmation, console)


def print_confirmation(front: Front, confirmation: Confirmation, console: Console) -> None:
    console.print(confirmed_table(front, confirmation))
    for line in confirmed_lines(front, confirmation):
        console.print(line, highlight=False)


def write_front(front: Front, *, csv: Path | None, plot: Path | None) -> None:
    """Writes the table and the picture.

    Raises:
        UserError: the picture's suffix is not a format.
    """
    if csv is not None:
        csv.parent.mkdir(parents=True, exist_ok=True)
        front_frame(front).to_csv(csv, index=False)
    if plot is not None:
        _check_format(plot, option="--plot")
        from flexsearch.report.plot import plot_front

        plot.parent.mkdir(parents=True, exist_ok=True)
        plot_front(front, plot)


def _check_format(path: Path, *, option: str) -> None:
    if path.suffix not in (".png", ".svg", ".pdf"):
        nearest = path.with_suffix(".png").name
        raise UserError(f"must end in .png, .svg or .pdf, but got {path.name!r}", field=option, nearest=nearest)


def show_trial(run_dir: Path, number: int, *, picture: Path | None, quiet: bool) -> dict[str, Any]:
    """Prints one trial, and draws its schedule where asked.

    Raises:
        UserError: there is no such trial, or the picture's suffix is not a format.
    """
    run = open_run(run_dir)
    if picture is not None:
        _check_format(picture, option="--picture")
    page = trial_page(run, number)
    if picture is not None:
        from flexsearch.report.schedule_picture import write_schedule_picture

        candidate = run.trial(number).candidate
        title = f"{run.name}, trial {number}: {candidate.sampling.steps} steps"
        write_schedule_picture(candidate.schedule, run.settings.shape.grid, picture, title=title)
    if not quiet:
        print_trial(page, Console())
    return page
