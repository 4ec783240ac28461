"""`flexsearch front`: shows the Pareto front of a run, and writes it as a table and as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flexsearch.cli.options import AsJson, RunDir, check_picture, print_json
from flexsearch.cli.terminal import open_terminal
from flexsearch.cli.typed import as_typed
from flexsearch.files import write_atomically
from flexsearch.paths import as_word

if TYPE_CHECKING:  # `--help` waits for none of them
    from rich.console import Console

    from flexsearch.report.front import Front

command = typer.Typer()


@command.command(epilog="Example: flexsearch front runs/quickstart --csv front.csv --plot front.png")
def front(
    run_dir: RunDir,
    as_json: AsJson = False,
    csv: Annotated[Path | None, typer.Option(help="write all complete trials to this file")] = None,
    plot: Annotated[Path | None, typer.Option(help="write a picture: .png, .svg or .pdf")] = None,
) -> None:
    """Show the Pareto front of a run and its baselines."""

    from flexsearch.cli.results import front_of_run, open_run
    from flexsearch.report.table import attribution_table

    found = front_of_run(open_run(run_dir))
    write_front(found, csv=csv, plot=plot)
    if as_json:
        print_json(found.to_dict())
    else:
        terminal = open_terminal()
        print_front(found, terminal, run_dir=run_dir)
        if found.attributions:
            terminal.print()
            terminal.print(attribution_table(found), soft_wrap=True)


def print_front(front: "Front", console: "Console", *, run_dir: Path) -> None:
    """Print the front as a table, by the values that are known best, its summary, and what quality budgets buy."""
    from flexsearch.report.table import budget_table, confirmed_lines, front_table, summary_lines

    console.print(front_table(front), soft_wrap=True)
    console.print()
    for line in (*summary_lines(front, run=as_word(run_dir)), *confirmed_lines(front)):
        console.print(as_typed(line), highlight=False)
    if front.budgets:
        console.print()
        console.print(budget_table(front), soft_wrap=True)


def write_front(front: "Front", *, csv: Path | None, plot: Path | None) -> None:
    """Write the table and the picture.

    Raises:
        UserError: the picture's suffix is not a format.
    """
    if plot is not None:
        check_picture(plot, option="--plot")
    if csv is not None:
        from flexsearch.report.table import front_frame

        csv.parent.mkdir(parents=True, exist_ok=True)
        table = front_frame(front).to_csv(index=False)
        if csv.exists() and not csv.is_file():  # /dev/stdout, a pipe
            csv.write_text(table, encoding="utf-8")
        else:
            write_atomically(csv, table)
    if plot is not None:
        from flexsearch.report.plot import plot_front

        plot.parent.mkdir(parents=True, exist_ok=True)
        plot_front(front, plot)
