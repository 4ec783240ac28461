"""Show one trial as text: its schedule drawn, its measurements with their protocol, its files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from rich.console import Console

from flexsearch.measurement import Measurement, counted, rounded
from flexsearch.report.claim import beside_free
from flexsearch.report.fitted_table import Column, FittedTable
from flexsearch.report.front import Front
from flexsearch.report.points import is_free
from flexsearch.report.run import Run
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.plan import Plan
from flexsearch.schedule.role import ROLES, legend
from flexsearch.schedule.run_lengths import run_lengths
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.step import LEGEND_OF_STEPS
from flexsearch.schedule.width import EIGHTHS

_LARGE = 1e5  # from here on a number is a count
_MARGIN = 10  # characters before what a drawing's line shows


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
        "legend": legend_of([plan]),
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
        "measured_again": measured_again(front, number),
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
    lines = ["steps     " + "".join(step.letter for step in plan.steps)]
    if plan.target.is_guided:
        lines.append(
            "rows      " + "".join(str(step.graph.rows) if step.graph.calls_model else "-" for step in plan.steps)
        )
    return [*lines, *draw_schedule(plan.candidate.schedule, plan.target.shape.grid)]


def draw_schedule(schedule: DensitySchedule, grid: TokenGrid) -> list[str]:
    """Draw one line per stage of diffusion time: the tokens on which each block works. Below it one per amount, where
    blocks are computed in part: how much of each, in eighths."""
    wide = max(4, len(str(grid.num_tokens)))
    lines = ["block     " + " ".join(f"{block:>{wide}}" for block in range(schedule.num_blocks))]
    lines.append("role      " + " ".join(f"{ROLES[role].letter:>{wide}}" for role in schedule.roles))
    for route, (low, high) in zip(schedule.routes(grid), pairwise(schedule.timetable.edges), strict=True):
        tokens = " ".join(f"{operation.queries.num_tokens:>{wide}}" for operation in route)
        lines.append(f"{low:.2f}-{high:.2f} ".ljust(_MARGIN) + tokens)
        for name in sorted({name for operation in route for name, _ in operation.amounts}):
            eighths = (f"{operation.amount(name, full=EIGHTHS)}/{EIGHTHS}" for operation in route)
            lines.append(f"  {name}"[: _MARGIN - 1].ljust(_MARGIN) + " ".join(f"{one:>{wide}}" for one in eighths))
    return lines


def legend_of(plans: Iterable[Plan]) -> str:
    """Say what the letters of drawn runs stand for: roles of blocks, and steps where any is not full."""
    known = list(plans)
    roles = ", ".join(legend(str(plan.candidate.schedule) for plan in known))
    is_plain = all(step.letter == "F" for plan in known for step in plan.steps)
    return roles if is_plain else f"{roles}; {LEGEND_OF_STEPS}"


def measured_again(front: Front, number: int) -> list[str]:
    """Say in a line each what a confirmation shows of a trial, and which later timing the front takes."""
    if number not in front.complete:
        return []
    row, quality, lines = front.row(front.complete[number]), front.objectives[0].name, []
    if (again := row.confirmed) is not None and front.confirmation is not None:
        infinite = "" if again.at_infinity is None else f" ({again.at_infinity} of infinitely many images)"
        lines.append(
            f"Measured again ({front.confirmation.shown_size} images, 95 %): {quality} {again.quality}{infinite}, "
            f"{again.latency} {row.latency.unit}: {again.verdict}."
        )
    if row.is_timed_again:
        spread = "" if row.latency.spread is None else f" ± {rounded(row.latency.spread, 2)}"
        lines.append(f"Timed again, interleaved with others: {row.latency.value:.4g}{spread} {row.latency.unit}.")
    return lines


def in_width(drawn: Sequence[str], width: int) -> Iterator[str]:
    """Break the lines of a drawn run for a terminal: between steps, and between blocks."""
    first = next(index for index, line in enumerate(drawn) if line.startswith("block"))
    steps, blocks = drawn[:first], drawn[first:]
    num_blocks = len(blocks[0].split()) - 1
    for lines, cell in ((steps, 1), (blocks, (len(blocks[0]) - _MARGIN + 1) // num_blocks)):
        room = max(1, (width - _MARGIN) // cell) * cell
        for start in range(_MARGIN, max(map(len, lines)), room):
            yield from ((line[:_MARGIN] + line[start : start + room]).rstrip() for line in lines)


def measurement_cells(measurements: Iterable[Measurement]) -> Iterator[tuple[str, str, str, str]]:
    """Print name, value with its spread, unit (empty where it has none) and protocol of each measurement."""
    for found in measurements:
        spread = "" if found.spread is None else f" ± {rounded(found.spread, 2)}"
        protocol = ", ".join(f"{key} {value}" for key, value in found.protocol.items())
        value = counted(found.value) if found.value >= _LARGE else f"{found.value:.4g}"
        yield found.name, f"{value}{spread}", "" if found.unit == "1" else found.unit, protocol


def measurement_table(measurements: Iterable[Measurement]) -> str:
    """Print measurements and how they were made as a Markdown table."""
    rows = [f"| {' | '.join(cells)} |" for cells in measurement_cells(measurements)]
    return "\n".join(["| measurement | value | unit | protocol |", "|---|---|---|---|", *rows])


def print_trial(page: dict[str, Any], console: Console) -> None:
    """Print the page on a terminal."""
    title = f"trial {page['trial']}" + (f" ({page['baseline']})" if page["baseline"] else "")
    console.print(f"{title}: {page['state']}" + (f", {page['reason']}" if page["reason"] else ""), style="bold")
    sampling = run_lengths(str(Sampling.from_dict(page["schedule"])))
    console.print(f"digest {page['digest']}, sampling {sampling}", highlight=False)
    for line in in_width(page["drawn"], console.width):
        console.print(line, highlight=False, soft_wrap=True)
    for line in (page["legend"], *page["beside_free"], *page["measured_again"]):
        console.print(line, highlight=False)
    headings = (
        Column(heading="as searched" if page["measured_again"] else "measurement", is_text=True),
        Column(heading="value"),
    )
    table, protocols = FittedTable([*headings, Column(heading="unit", is_text=True)]), dict[str, list[str]]()
    for name, value, unit, protocol in measurement_cells(map(Measurement.from_dict, page["measurements"])):
        table.add_row(name, value, unit)
        protocols.setdefault(protocol, []).append(name)
    console.print()
    console.print(table, soft_wrap=True)
    console.print()
    for protocol, names in protocols.items():
        if protocol:
            console.print(f"{', '.join(names)}: {protocol}", highlight=False)
    for rung in page["rungs"]:
        paired_distance = "" if rung["paired_distance"] is None else f", paired distance {rung['paired_distance']:.3g}"
        console.print(
            f"rung: {rung['quality']:.4g}{paired_distance} after {rung['updates']} fine-tuning updates", highlight=False
        )
    for path in page["files"]:
        console.print(path, highlight=False, soft_wrap=True)
