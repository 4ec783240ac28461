"""`flexsearch choose` and `compare`: which trial to take, and how two of them differ."""

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flexsearch.cli.results import front_of_run, open_run
from flexsearch.report.choice import By, Choice, choose, reasons
from flexsearch.report.comparison import Difference, TrialComparison, compare_trials


def choose_trial(
    run_dir: Path,
    *,
    max_latency_ms: float | None,
    max_quality: float | None,
    knee: bool,
    by: By | None,
    quiet: bool,
) -> dict[str, Any]:
    """Prints the choice and why."""
    front = front_of_run(open_run(run_dir))
    found = choose(front, max_latency_ms=max_latency_ms, max_quality=max_quality, knee=knee, by=by)
    command = f"flexsearch export {run_dir} {found.point.record.number} exported"
    if not quiet:
        print_choice(found, command, Console())
    return {**found.to_dict(), "export": command}


def print_choice(found: Choice, command: str, console: Console) -> None:
    record = found.point.record
    console.print(f"[bold]trial {record.number}[/]: {record.candidate}, digest {record.digest}", highlight=False)
    for line in reasons(found):
        console.print(line, highlight=False)
    console.print(f"take it: {command}", highlight=False, soft_wrap=True)


def show_comparison(run_dir: Path, a: int, b: int, *, quiet: bool) -> dict[str, Any]:
    """Prints two trials side by side."""
    run = open_run(run_dir)
    found = compare_trials(run, front_of_run(run), a, b)
    if not quiet:
        print_comparison(found, Console())
    return found.to_dict()


def print_comparison(found: TrialComparison, console: Console) -> None:
    for record, drawn in zip((found.a, found.b), found.drawn, strict=True):
        name = f" ({record.baseline})" if record.baseline else ""
        console.print(f"[bold]trial {record.number}[/]{name}: {record.candidate}, {record.state}", highlight=False)
        for line in drawn:
            console.print(line, highlight=False, soft_wrap=True)
    for title, rows in (("as searched", found.measured), ("measured again", found.confirmed)):
        if rows:
            console.print(_table(found, rows, title))
    if (ratio := found.latency_ratio) is not None:
        console.print(
            f"trial {found.b.number} is {ratio.value:.3f} ± {ratio.spread:.2g} times as fast as trial {found.a.number}",
            highlight=False,
        )
    if not found.plans:
        console.print("the plans are the same", highlight=False)
    for line in found.plans:
        console.print(line, highlight=False, soft_wrap=True)


def _table(found: TrialComparison, rows: tuple[Difference, ...], title: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, title=title, title_justify="left")
    for column in ("measurement", f"trial {found.a.number}", f"trial {found.b.number}", "difference", "unit"):
        table.add_column(column, justify="left" if column in ("measurement", "unit") else "right")
    table.add_column("beyond noise?", overflow="fold")
    for row in rows:
        value = "none given" if row.value is None else f"{row.value:+.4g}"
        a, b = f"{row.a.value:.4g}", f"{row.b.value:.4g}"
        table.add_row(row.a.name, a, b, value, "" if row.a.unit == "1" else row.a.unit, _verdict(row))
    return table


def _verdict(row: Difference) -> str:
    if row.other_protocol:
        return f"other protocol: {'; '.join(row.other_protocol)}"
    if row.exceeds_noise is None:
        return "exact" if row.a.name == "macs" else "noise not measured"
    return f"{'yes' if row.exceeds_noise else 'no'} (noise up to {row.margin:.2g})"
