"""`flexsearch compare`: shows two trials side by side."""

from typing import TYPE_CHECKING, Annotated

import typer

from flexsearch.cli.options import AsJson, RunDir, print_json
from flexsearch.cli.terminal import open_terminal
from flexsearch.measurement import rounded

if TYPE_CHECKING:  # `--help` waits for none of them
    from rich.console import Console
    from rich.table import Table

    from flexsearch.report.comparison import Difference, TrialComparison

command = typer.Typer()


@command.command(epilog="Example: flexsearch compare runs/quickstart 24 5")
def compare(
    run_dir: RunDir,
    a: Annotated[int, typer.Argument(help="number of a trial", metavar="A")],
    b: Annotated[int, typer.Argument(help="number of another", metavar="B")],
    as_json: AsJson = False,
) -> None:
    """Compare two trials: schedules, measurements and whether they differ by more than noise."""

    from flexsearch.cli.results import front_of_run, open_run
    from flexsearch.report.comparison import compare_trials

    run = open_run(run_dir)
    found = compare_trials(run, front_of_run(run), a, b)
    if as_json:
        print_json(found.to_dict())
    else:
        print_comparison(found, open_terminal())


def print_comparison(found: "TrialComparison", console: "Console") -> None:
    """Print both schedules, the measurements, and where the plans differ."""
    for record, drawn in zip((found.a, found.b), found.drawn, strict=True):
        name = f" ({record.baseline})" if record.baseline else ""
        console.print(f"trial {record.number}{name}: {record.candidate}, {record.state}", highlight=False, style="bold")
        for line in drawn:
            console.print(line, highlight=False, soft_wrap=True)
    for title, rows in (
        ("as searched", () if found.confirmed else found.measured),
        ("measured again", found.confirmed),
    ):
        if rows:
            console.print(_table(found, rows, title))
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
        console.print(line, highlight=False, soft_wrap=True)


def _table(found: "TrialComparison", rows: tuple["Difference", ...], title: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, title=title, title_justify="left")
    for column in ("measurement", f"trial {found.a.number}", f"trial {found.b.number}", "difference", "unit"):
        is_name = column in ("measurement", "unit")
        table.add_column(column, justify="left" if is_name else "right", no_wrap=is_name)
    table.add_column("beyond noise?", overflow="fold")
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
