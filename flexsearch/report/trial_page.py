"""Show one trial as text: its schedule drawn, its measurements with their protocol, its training curve."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table

from flexsearch.measurement import Measurement, rounded
from flexsearch.report.claim import beside_free
from flexsearch.report.front import Front
from flexsearch.report.points import is_free
from flexsearch.report.run import Run
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.plan import Plan
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid

_BARS, _WIDTH = " ▁▂▃▄▅▆▇█", 60


def trial_page(run: Run, front: Front, number: int) -> dict[str, Any]:
    """Collect everything known of a trial, as JSON values."""
    record = run.trial(number)
    schedule, shape = record.candidate.schedule, run.settings.shape
    plan = run.settings.search_space.plan(record.candidate)
    folder = run.folder / "trials" / str(number)
    return {
        "trial": number,
        "state": record.state,
        "reason": record.reason,
        "baseline": record.baseline,
        "digest": record.digest,
        "free": is_free(record),
        "schedule": record.candidate.to_dict(),
        "sampling": str(record.candidate.sampling),
        "drawn": draw_run(plan),
        "stages": [
            {
                "times": list(times),
                "route": [
                    {
                        "block": o.block,
                        "role": o.role,
                        "queries": str(o.queries),
                        "keys": str(o.keys),
                        **dict(o.amounts),
                    }
                    for o in route
                ],
            }
            for route, times in zip(schedule.routes(shape.grid), pairwise(schedule.timetable.edges), strict=True)
        ],
        "steps": [
            {"time": step.time, "stage": step.stage, "rows": step.graph.rows, "kind": step.letter}
            for step in plan.steps
        ],
        "beside_free": beside_free(front, number),
        "measurements": [found.to_dict() for found in record.measurements.values()],
        "curve": [list(point) for point in run.store.curve(number)],
        "rungs": [asdict(rung) for rung in record.rungs],
        "attempts": record.attempts,
        "started": record.started,
        "ended": record.ended,
        "files": sorted(str(path) for path in folder.rglob("*") if path.is_file() and path.name != "lock"),
    }


def draw_run(plan: Plan) -> list[str]:
    """Draw the steps from noise to data in one line, their rows of guidance below them, and the schedule."""
    calls = f"{len(plan.steps)} calls"
    lines = [f"{calls:<10}" + "".join(step.letter for step in plan.steps)]
    if plan.target.is_guided:
        lines.append(
            "rows      " + "".join(str(step.graph.rows) if step.graph.calls_model else "-" for step in plan.steps)
        )
    return [*lines, *draw_schedule(plan.candidate.schedule, plan.target.shape.grid)]


def draw_schedule(schedule: DensitySchedule, grid: TokenGrid) -> list[str]:
    """Draw one line per stage of diffusion time: the tokens on which each block works."""
    wide = max(4, len(str(grid.num_tokens)))
    lines = ["block     " + " ".join(f"{block:>{wide}}" for block in range(schedule.num_blocks))]
    lines.append("role      " + " ".join(f"{role[:4]:>{wide}}" for role in schedule.roles))
    for route, (low, high) in zip(schedule.routes(grid), pairwise(schedule.timetable.edges), strict=True):
        tokens = " ".join(f"{operation.queries.num_tokens:>{wide}}" for operation in route)
        lines.append(f"{low:.2f}-{high:.2f} ".ljust(10) + tokens)
    return lines


def measurement_cells(measurements: Iterable[Measurement]) -> Iterator[tuple[str, str, str, str]]:
    """Print name, value with its spread, unit and protocol of each measurement."""
    for found in measurements:
        spread = "" if found.spread is None else f" ± {rounded(found.spread, 2)}"
        protocol = ", ".join(f"{key} {value}" for key, value in found.protocol.items())
        yield found.name, f"{found.value:.4g}{spread}", found.unit, protocol


def measurement_table(measurements: Iterable[Measurement]) -> str:
    """Print measurements and how they were made as a Markdown table."""
    rows = [f"| {' | '.join(cells)} |" for cells in measurement_cells(measurements)]
    return "\n".join(["| measurement | value | unit | protocol |", "|---|---|---|---|", *rows])


def print_trial(page: dict[str, Any], console: Console) -> None:
    """Print the page on a terminal."""
    title = f"trial {page['trial']}" + (f" ({page['baseline']})" if page["baseline"] else "")
    console.print(f"{title}: {page['state']}" + (f", {page['reason']}" if page["reason"] else ""), style="bold")
    console.print(f"digest {page['digest']}, sampling {Sampling.from_dict(page['schedule'])}", highlight=False)
    for line in page["drawn"]:
        console.print(line, highlight=False, soft_wrap=True)
    for line in page["beside_free"]:
        console.print(line, highlight=False)
    table = Table(header_style="bold")
    for column in ("measurement", "value", "unit", "protocol"):
        table.add_column(column)
    for cells in measurement_cells(Measurement.from_dict(found) for found in page["measurements"]):
        table.add_row(*cells)
    console.print(table)
    if page["curve"]:
        losses = [loss for _, loss in page["curve"]]
        console.print(f"loss {losses[0]:.4g} {sparkline(losses)} {losses[-1]:.4g}", highlight=False)
    for rung in page["rungs"]:
        paired_distance = "" if rung["paired_distance"] is None else f", paired distance {rung['paired_distance']:.3g}"
        console.print(
            f"rung: {rung['quality']:.4g}{paired_distance} after {rung['updates']} fine-tuning updates", highlight=False
        )
    for path in page["files"]:
        console.print(path, highlight=False, soft_wrap=True)


def sparkline(values: list[float]) -> str:
    """Draw values as a row of bars, averaged down to at most `_WIDTH`."""
    size = max(1, -(-len(values) // _WIDTH))
    means = [
        sum(values[start : start + size]) / len(values[start : start + size]) for start in range(0, len(values), size)
    ]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 2) / (high - low) if high > low else 0.0
    return "".join(_BARS[1 + round((value - low) * scale)] for value in means)
