"""One trial as text: its schedule drawn, its measurements with their protocol, its training curve."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from flexsearch.measurement import Measurement
from flexsearch.report.run import Run
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.grid import TokenGrid
from flexsearch.study.store import TrialRecord

_BARS = " ▁▂▃▄▅▆▇█"


def trial_page(run: Run, number: int) -> dict[str, Any]:
    """Everything known of a trial, as JSON values."""
    record = run.trial(number)
    schedule, shape = record.candidate.schedule, run.settings.shape
    plan = run.settings.search_space.plan(schedule)
    folder = run.folder / "trials" / str(number)
    return {
        "trial": number,
        "state": record.state,
        "reason": record.reason,
        "baseline": record.baseline,
        "digest": record.digest,
        "schedule": record.candidate.to_dict(),
        "drawn": draw_schedule(schedule, shape.grid),
        "plan": [
            {
                "times": [plan.timetable.edges[stage], plan.timetable.edges[stage + 1]],
                "operations": [
                    {"block": o.block, "kind": o.kind, "queries": str(o.queries), "keys": str(o.keys)}
                    for o in operations
                ],
            }
            for stage, operations in enumerate(plan.stages)
        ],
        "measurements": [found.to_dict() for found in record.measurements.values()],
        "curve": [list(point) for point in run.store.curve(number)],
        "rungs": [asdict(rung) for rung in record.rungs],
        "attempts": record.attempts,
        "started": record.started,
        "ended": record.ended,
        "files": sorted(str(path) for path in folder.rglob("*") if path.is_file() and path.name != "lock"),
    }


def draw_schedule(schedule: DensitySchedule, grid: TokenGrid) -> list[str]:
    """One line per stage of diffusion time: the tokens on which each block works."""
    wide = max(4, len(str(grid.num_tokens)))
    lines = ["block     " + " ".join(f"{block:>{wide}}" for block in range(schedule.num_blocks))]
    lines.append("role      " + " ".join(f"{role[:4]:>{wide}}" for role in schedule.roles))
    for stage, side in enumerate(schedule.timetable.grids):
        low, high = schedule.timetable.edges[stage : stage + 2]
        sparse = grid.pooled(side, schedule.timetable.frames).num_tokens
        tokens = [sparse if role in ("merge", "sparse") else grid.num_tokens for role in schedule.roles]
        lines.append(f"{low:.2f}-{high:.2f} ".ljust(10) + " ".join(f"{count:>{wide}}" for count in tokens))
    return lines


def measurements_markdown(record: TrialRecord) -> str:
    """What was measured of a trial and how, as a Markdown table."""
    return measurement_table(record.measurements.values())


def measurement_table(measurements: Iterable[Measurement]) -> str:
    """Measurements and how they were made, as a Markdown table."""
    rows = []
    for found in measurements:
        spread = "" if found.spread is None else f" ± {found.spread:.2g}"
        protocol = ", ".join(f"{key} {value}" for key, value in found.protocol.items())
        rows.append(f"| {found.name} | {found.value:.4g}{spread} | {found.unit} | {protocol} |")
    return "\n".join(["| measurement | value | unit | protocol |", "|---|---|---|---|", *rows])


def print_trial(page: dict[str, Any], console: Console) -> None:
    """The page on a terminal."""
    title = f"trial {page['trial']}" + (f" ({page['baseline']})" if page["baseline"] else "")
    console.print(f"[bold]{title}[/]: {page['state']}" + (f", {page['reason']}" if page["reason"] else ""))
    console.print(f"digest {page['digest']}, {page['schedule']['sampler_steps']} sampler steps", highlight=False)
    for line in page["drawn"]:
        console.print(line, highlight=False, soft_wrap=True)
    table = Table(header_style="bold")
    for column in ("measurement", "value", "unit", "protocol"):
        table.add_column(column)
    for found in page["measurements"]:
        spread = "" if found["spread"] is None else f" ± {found['spread']:.2g}"
        protocol = ", ".join(f"{key} {value}" for key, value in found["protocol"].items())
        table.add_row(found["name"], f"{found['value']:.4g}{spread}", found["unit"], protocol)
    console.print(table)
    if page["curve"]:
        losses = [loss for _, loss in page["curve"]]
        console.print(f"loss {losses[0]:.4g} {sparkline(losses)} {losses[-1]:.4g}", highlight=False)
    for rung in page["rungs"]:
        paired_distance = "" if rung["paired_distance"] is None else f", paired distance {rung['paired_distance']:.3g}"
        console.print(
            f"rung: {rung['quality']:.4g}{paired_distance} after {rung['updates']} own updates", highlight=False
        )
    for path in page["files"]:
        console.print(path, highlight=False, soft_wrap=True)


def sparkline(values: list[float], width: int = 60) -> str:
    """Values as a row of bars, averaged down to at most `width`."""
    size = max(1, -(-len(values) // width))
    means = [
        sum(values[start : start + size]) / len(values[start : start + size]) for start in range(0, len(values), size)
    ]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 2) / (high - low) if high > low else 0.0
    return "".join(_BARS[1 + round((value - low) * scale)] for value in means)
