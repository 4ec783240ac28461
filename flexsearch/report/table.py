"""Print the front as tables and lines, and give it as a data frame."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flexsearch.report.fitted_table import Column, FittedTable
from flexsearch.report.front import Front
from flexsearch.report.gain import headline
from flexsearch.report.points import Points
from flexsearch.report.row import Row
from flexsearch.schedule.role import legend
from flexsearch.schedule.run_lengths import run_lengths

if TYPE_CHECKING:
    import pandas as pd

_LEGEND = (
    "{roles}; @ sparse grids from data to noise; x sampler steps, their solver, F full, p partial, n null steps, "
    "m the data mean, g mean and covariance of the data. free: the dense base, nothing trained. Speed-up, MACs: beside "
    "the dense base at as many steps of its own solver. Gain: over the free baselines at equal latency (fastest: none "
    "is as fast){found}."
)
_FOUND = "; below it, of what was trained, over all that is free, found by the search or not"

_PREDICTED_DISTANCE = (
    "Predicted distance after long training: the dense base's at these steps x (1 + paired distance to its samples). "
    "For ranking only, no forecast of the value; *: no other trial is better in it and in latency."
)


_LEAVE_FIRST = ("macs", "predicted_distance", "speedup", "at_infinity", "gain_again")
"""Columns that a narrow terminal does without, in this order."""


def front_table(front: Front) -> FittedTable:
    """Make the table of the front: fastest first, then the rest of the predicted front, then the other baselines.

    "speed-up" is over the dense base at as many steps, "gain" over what is free at equal latency. A star marks the
    predicted front; what is on neither front is dim.
    """
    quality, latency = front.objectives
    headings = {
        "quality": metric(quality.name),
        "latency": latency.unit.replace("/", "/\n"),
        "macs": "MACs",
        "speedup": "speed-\nup",
        "gain": "gain",
    }
    if front.predicted_distances:
        headings["predicted_distance"] = "predicted\ndistance"
    table = _table(f"Pareto front of {front.study}: {quality.name} and {latency.name}", headings)
    for section in front.sections:
        for row in section:
            shown = dict(row.printed)
            shown["latency"] += f" {shown['spread']}".replace("± ", "±").rstrip()
            shown["gain"] += f"\n({shown['over_found']})" if shown["over_found"] else ""
            is_dim = not (row.is_on_front or row.is_on_predicted_front)
            cells = [shown[key] for key in headings]
            table.add_row(*_named(shown), *cells, style="dim" if is_dim else "")
        table.add_section()
    return table


def confirmed_table(front: Front) -> FittedTable:
    """Make the table of what was measured again, fastest first, with what the search had measured in brackets.

    What is off the searched front is dim.
    """
    headings = {
        "again": "again\n(before)",
        "at_infinity": "infinite\nimages",
        "latency_again": "ms/\nimage",
        "gain_again": "gain",
        "on_front": "on the\nfront",
    }
    found = front.confirmation
    size = "" if found is None else f": {len(found.seeds)} seeds of {found.images} images"
    table = _table(f"{front.study}, measured again{size}, {front.objectives[0].name} ± 95 %", headings)
    for row in confirmed_rows(front):
        shown = {key: text.replace(" ± ", "\n±") for key, text in row.printed.items()}
        shown["again"] += f"\n({shown['quality']})"
        shown["on_front"] = "\n".join([shown["front_probability"], *shown["verdict"].rsplit(" ", 1)])
        cells = [shown[key] for key in headings]
        table.add_row(*_named(shown), *cells, style="" if row.is_on_front else "dim")
    return table


def _named(shown: Mapping[str, str]) -> tuple[str, str]:
    """Say which trial a row is, and what it does: name and schedule, then sampling. A free one is all dense."""
    free = "free" if shown["free"] else ""
    schedule = "" if free and shown["baseline"] else run_lengths(shown["schedule"])
    what = " ".join(one for one in (free, shown["baseline"], schedule) if one)
    return shown["trial"], f"{what}\n{run_lengths(shown['sampling'])}"


def metric(quality: str) -> str:
    """Shorten the name of a quality to its metric's, as a heading of a column."""
    return quality.partition("_")[0]


def confirmed_rows(front: Front) -> list[Row]:
    """List the rows of what was measured again, fastest first."""
    return [front.row(record) for record in front.confirmed]


def _table(title: str, headings: Mapping[str, str]) -> FittedTable:
    leaves = {name: len(_LEAVE_FIRST) - place for place, name in enumerate(_LEAVE_FIRST)}
    columns = [Column(heading="trial"), Column(heading="schedule", is_text=True)]
    columns += [Column(heading=heading, leaves=leaves.get(name)) for name, heading in headings.items()]
    return FittedTable(columns, title=title)


def front_frame(front: Front) -> "pd.DataFrame":
    """Give every complete trial, one row each, with `on_front` and what was measured again."""
    import pandas as pd  # half a second, which tables on a terminal need not wait for

    rows = []
    for record in front.complete.values():
        row = front.row(record)
        flat = row.to_flat()
        if row.confirmed is not None and front.confirmation is not None:
            flat |= {"confirmed_images": front.confirmation.images, "confirmed_seeds": len(front.confirmation.seeds)}
            flat |= row.confirmed.to_flat()
        rows.append(flat)
    return pd.DataFrame(rows)


def summary_lines(front: Front) -> list[str]:
    """Say what the columns mean, counts, hypervolume, noise beside the spread of the front, and cost."""
    quality, latency = front.objectives
    counts = ", ".join(f"{num} {state}" for state, num in front.counts.items() if num)
    lines = [f"Trials: {counts or 'none'}. Hypervolume {front.hypervolume:.4g}."]
    if front.points:
        found_free = _FOUND if front.as_searched.found_free else ""
        lines.insert(0, _LEGEND.format(roles=", ".join(legend()), found=found_free))
    if front.left_out:
        trials = "trial" if front.left_out == 1 else "trials"
        lines.append(f"Left out: {front.left_out} complete {trials} under another protocol than most.")
    if front.predicted_distances:
        lines.append(_PREDICTED_DISTANCE)
    if front.points:
        lines.append(_claim(front.as_searched, quality.name))
    values = [one.quality for one in front.as_searched.best]
    if front.noise is not None and values:
        lines.append(
            f"Noise of {quality.name}: {front.noise.paired:.2g} paired, {front.noise.unpaired:.2g} unpaired (sd over "
            f"{front.noise.num_seeds} seeds, {front.noise.num_schedules} schedules); "
            f"the front spans {min(values):.4g} to {max(values):.4g}."
        )
    if front.latency_spread is not None:
        lines.append(
            f"Spread of {latency.name}: {front.latency_spread:.1%} of it (half of the range of the middle half of the "
            "repetitions, median over trials)."
        )
    if front.costs:
        total = sum(cost.seconds for cost in front.costs)
        shared = sum(cost.seconds for cost in front.costs if ":" not in cost.what)
        again = sum(cost.seconds for cost in front.costs if cost.what.startswith("confirm:"))
        confirmed = f" and {again / 60:.1f} for the confirmation" if again else ""
        lines.append(
            f"Cost: {total / 60:.1f} device minutes, {shared / 60:.1f} of them for what trials share{confirmed}."
        )
    return lines


def _claim(points: Points, quality: str) -> str:
    claim, found = headline(points, quality=quality)
    return claim if found is None or found.quality is None else f"Largest gain: {claim}"


def confirmed_lines(front: Front) -> list[str]:
    """Say what the confirmation shows of the points that the search had put on its front."""
    found = front.confirmation
    if found is None:
        return []
    rows = confirmed_rows(front)
    verdicts = {
        row.record.number: row.printed["verdict"] for row in rows if row.is_on_front and row.record.baseline is None
    }
    counts = []
    for verdict in ("confirmed", "within noise", "not confirmed"):
        numbers = [str(number) for number, one in verdicts.items() if one == verdict]
        named = f" (trial {', '.join(numbers)})" if numbers and verdict != "confirmed" else ""
        counts.append(f"{len(numbers)} {verdict}{named}")
    lines = [
        f"Of {len(verdicts)} searched points of the front that were measured again, {', '.join(counts)}. ± 95 %; "
        "on the front: the probability that no other of these is better in both."
    ]
    lines.append(_claim(front.best_known, front.objectives[0].name))
    gained = [row.printed["trial"] for row in rows if not row.is_on_front and row.printed["verdict"] == "confirmed"]
    if gained:
        lines.append(f"Not on the searched front, but on this one: trial {', '.join(gained)}.")
    if found.left_out:
        lines.append(f"Left out: {found.left_out} measurements under another protocol than most.")
    own, common = f"{found.paired_noise:.2g}", f"{found.common_noise:.2g}"
    lines.append(
        f"Noise of {front.objectives[0].name} under one seed of {found.images} images: {own} of its own, {common} that "
        f"all share (sd, of the median candidate); of one latency: {found.latency_noise:.1%}."
    )
    return lines
