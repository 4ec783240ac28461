"""`flexsearch compare`: shows two trials side by side."""

from typing import TYPE_CHECKING, Annotated

import typer

from flexsearch.cli.options import TRIAL, AsJson, RunDir, print_json
from flexsearch.cli.terminal import open_terminal
from flexsearch.measurement import rounded

if TYPE_CHECKING:  # `--help` waits for none of them
    from rich.console import Console

    from flexsearch.report.comparison import Difference, TrialComparison
    from flexsearch.report.fitted_table import FittedTable

command = typer.Typer()


@command.command(epilog="Example: flexsearch compare runs/quickstart best 5")
def compare(
    run_dir: RunDir,
    a: Annotated[str, typer.Argument(help=f"a trial: {TRIAL}", metavar="A")],
    b: Annotated[str, typer.Argument(help="another", metavar="B")],
    as_json: AsJson = False,
) -> None:
    """Compare two trials, and say which differences exceed noise."""

    from flexsearch.cli.results import front_of_run, open_run
    from flexsearch.report.comparison import compare_trials
    from flexsearch.report.trial_word import trial_number

    run = open_run(run_dir)
    found = compare_trials(run, front_of_run(run), trial_number(run, a), trial_number(run, b))
    if as_json:
        print_json(found.to_dict())
    else:
        print_comparison(found, open_terminal())


def print_comparison(found: "TrialComparison", console: "Console") -> None:
    """Print both schedules, the measurements, and where the plans differ."""
    from flexsearch.report.trial_page import in_width
    from flexsearch.schedule.run_lengths import run_lengths

    for record, drawn in zip((found.a, found.b), found.drawn, strict=True):
        name = f" ({record.baseline})" if record.baseline else ""
        what = f"trial {record.number}{name}: {run_lengths(str(record.candidate))}, {record.state}"
        console.print(what, highlight=False, style="bold")
        for line in in_width(drawn, console.width):
            console.print(line, highlight=False, soft_wrap=True)
    console.print(found.legend, highlight=False)
    for title, rows in (
        ("as searched", () if found.confirmed else found.measured),
        ("measured again", found.confirmed),
    ):
        if rows:
            console.print()
            console.print(_table(found, rows, title), soft_wrap=True)
            console.print()
    for line in found.beside_free:
        console.print(line, highlight=False)
    if (ratio := found.latency_ratio) is not None:
        console.print(
            f"trial {found.b.number} is {ratio.value:.3f} ± {ratio.spread:.2g} times as fast as trial {found.a.number}",
            highlight=False,
        )
    if not found.plans:
        console.print("the plans are the same", highlight=False)
    for line in found.plans:
        console.print(run_lengths(line), highlight=False)


def _table(found: "TrialComparison", rows: tuple["Difference", ...], title: str) -> "FittedTable":
    from flexsearch.report.fitted_table import Column, FittedTable

    table = FittedTable(
        [
            Column(heading="measurement", is_text=True),
            *(Column(heading=f"trial {one.number}") for one in (found.a, found.b)),
            Column(heading="difference"),
            Column(heading="unit", is_text=True, leaves=1),
            Column(heading="beyond noise?", is_text=True),
        ],
        title=title,
    )
    for row in rows:
        value = "none given" if row.value is None else f"{row.value:+.4g}"
        a, b = f"{row.a.value:.4g}", f"{row.b.value:.4g}"
        table.add_row(row.a.name, a, b, value, "" if row.a.unit == "1" else row.a.unit, _verdict(row))
    return table


def _verdict(row: "Difference") -> str:
    if row.other_protocol:
        return f"other protocol: {'; '.join(row.other_protocol)}"
    if row.exceeds_noise is None:
        return "exact" if row.a.name == "macs" else "noise not measured"
    return f"{'yes' if row.exceeds_noise else 'no'} (noise up to {rounded(row.margin or 0.0, 2)})"
