"""`flexsearch show`: shows one trial, and draws its schedule."""

from pathlib import Path
from typing import Annotated

import typer

from flexsearch.cli.options import AsJson, RunDir, Trial, check_picture, print_json
from flexsearch.cli.terminal import open_terminal

command = typer.Typer()


@command.command(epilog="Example: flexsearch show runs/quickstart 7 --picture schedule.svg")
def show(
    run_dir: RunDir,
    trial: Trial,
    as_json: AsJson = False,
    picture: Annotated[Path | None, typer.Option(help="draw its run: .png, .svg or .pdf")] = None,
) -> None:
    """Show one trial: schedule, measurements, training curve, files."""

    from flexsearch.cli.results import open_run
    from flexsearch.report.trial_page import print_trial, trial_page
    from flexsearch.report.trial_word import trial_number

    run = open_run(run_dir)
    number = trial_number(run, trial)
    if picture is not None:
        check_picture(picture, option="--picture")
    page = trial_page(run, number)
    if picture is not None:
        from flexsearch.report.schedule_picture import write_run_picture

        candidate = run.trial(number).candidate
        title = f"{run.name}, trial {number}: {candidate.sampling}"
        write_run_picture(run.settings.search_space.plan(candidate), picture, title=title)
    if as_json:
        print_json(page)
    else:
        print_trial(page, open_terminal())
