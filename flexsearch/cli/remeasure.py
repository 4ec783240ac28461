"""`flexsearch remeasure`: times the complete trials of a run again."""

from typing import Annotated

import typer

from flexsearch.cli.front import print_front, write_front
from flexsearch.cli.options import AsJson, RunDir, print_json
from flexsearch.cli.terminal import open_terminal
from flexsearch.errors import UserError
from flexsearch.processors import make_way

command = typer.Typer()


@command.command(epilog="Example: flexsearch remeasure runs/quickstart")
def remeasure(
    run_dir: RunDir,
    trial: Annotated[list[int] | None, typer.Option(help="only this trial; may be given several times")] = None,
    as_json: AsJson = False,
) -> None:
    """Time complete trials again, interleaved, on a quiet machine: for a run whose latencies disagree. Fronts take the
    new latencies; what the search went by stays in its trials."""

    make_way()
    from flexsearch.cli.results import front_of_run, open_run
    from flexsearch.study.time_again import time_again
    from flexsearch.trial.timing import disturbance

    run, terminal = open_run(run_dir), open_terminal(stderr=True)
    complete = front_of_run(run).complete
    for number in trial or ():
        if number not in complete:
            nearest = min(complete, key=lambda known: abs(known - number), default=None)
            raise UserError(f"{run_dir} has no complete trial {number}", field="--trial", nearest=nearest)
    records = [complete[number] for number in sorted(set(trial or complete))]
    if not records:
        raise UserError("has no complete trial to time", field=str(run_dir), nearest="flexsearch run")
    if (disturbed := disturbance(run.settings)) is not None:
        terminal.print(f"note: {disturbed}", highlight=False)
    time_again(
        run.store,
        records,
        run_dir=run_dir,
        report=lambda done, total: terminal.print(f"timed again: {done} of {total} trials", highlight=False),
    )
    front = front_of_run(run)
    write_front(front, csv=run_dir / "front.csv", plot=run_dir / "front.png")
    if as_json:
        print_json(front.to_dict())
    else:
        print_front(front, open_terminal(), run_dir=run_dir)
