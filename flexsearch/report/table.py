"""Print the front as tables and lines, and give it as a data frame."""

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

from flexsearch.latency.linearity import warning
from flexsearch.latency.settings import EAGER
from flexsearch.measurement import rounded
from flexsearch.objectives.settings import SHOWN_BESIDE
from flexsearch.report.claim import headline
from flexsearch.report.fitted_table import Column, FittedTable
from flexsearch.report.front import Front
from flexsearch.report.points import FrontPoint
from flexsearch.schedule.role import legend
from flexsearch.schedule.run_lengths import run_lengths
from flexsearch.schedule.sampling import SAMPLING_LEGEND

if TYPE_CHECKING:
    import pandas as pd

_LEGEND = (
    f"{{roles}}; @ sparse grids from data to noise; {SAMPLING_LEGEND}. free: the dense base, nothing trained. "
    "Speed-up: over the training-free baselines at equal {quality}, with its 95 % interval; =: none beyond noise; >: "
    "better than all of them; <: worse than all of them, which tells nothing. MACs: beside the dense base at as many "
    "steps."
)

_LEAVE_FIRST = (*SHOWN_BESIDE[::-1], "macs", "eager", "front_probability")
"""Columns that a narrow terminal does without, in this order."""


def front_table(front: Front) -> FittedTable:
    """Make the table of the front by the lower end of the speed-up, then the other baselines; once there is a
    confirmation, of what was measured again alone.

    What is not on the front is dim.
    """
    quality, latency = front.objectives
    headings = {
        "quality": metric(quality.name),
        "latency": latency.unit.replace("/", "/\n"),
        "speedup": "speed-up at\nequal quality",
        "macs": "MACs",
    }
    if front.is_compiled:
        headings["latency"] = f"compiled\n{latency.unit}"
        headings["eager"] = f"eager\n{latency.unit}"
    headings |= {name: name.replace("_", "\n") for name in front.beside}
    title = f"Pareto front of {front.study}: {quality.name} and {latency.name}"
    if front.confirmation is not None:
        headings["front_probability"] = "on the\nfront"
        title += f", measured again: {front.confirmation.shown_size} images, ± 95 %{_at_infinity(front)}"
    table = _table(title, headings)
    best, rest = front.sections
    for section in (best, rest):
        for row in section:
            shown = dict(row.printed)
            shown["latency"] += f" {shown['spread']}".replace("± ", "±").rstrip()
            if (again := row.confirmed) is not None:
                shown["quality"] += f"\n±{rounded((again.at_infinity or again.quality).half_width, 2)}"
                shown["front_probability"] += f"\n{again.verdict}"
            shown["speedup"] = "\n".join(shown[key] for key in ("speedup", "speedup_interval") if shown[key])
            verdict = {"speedup": _VERDICTS.get(shown["verdict_of_speedup"], "")}
            cells = [shown.get(key, "") for key in headings]
            marks = {2 + place: verdict[key] for place, key in enumerate(headings) if verdict.get(key)}
            table.add_row(*_named(shown), *cells, style="dim" if section is rest else "", marks=marks)
        table.add_section()
    return table


_VERDICTS = {"faster": "green", "slower": "red", "within noise": "bright_black"}
"""Colours of speed-ups: green is claimed, red is slower, grey is within noise."""


def budget_table(front: Front) -> FittedTable:
    """Make the table of what quality budgets buy, over the dense base; see `budgets.py`."""
    quality = metric(front.objectives[0].name)
    title = f"What a quality budget buys: times as fast as the dense base{_at_infinity(front)}"
    if front.is_biased:
        images = front.objectives[0].protocol.get("images", "few")
        title += f". Ratios of {quality} of {images} images are too small, by its bias: `flexsearch confirm` mends it."
    headings = (f"{quality} may\ngrow to", "fastest\nsearched", "fastest\ntraining-free")
    table = FittedTable([Column(heading=heading) for heading in headings], title=title)
    for budget in front.budgets:
        table.add_row(*budget.printed.values())
    return table


def attribution_table(front: Front) -> FittedTable:
    """Make the table of the axes, what each owns of the front, and what is lost without it; see `attribution.py`."""
    title = (
        "Axes: where their points are the best of the front, as searched, and the share of the hypervolume that the "
        "trials without them lack. An observation of these trials, no ablation."
    )
    headings = {"lost": "hypervolume\nlost", "without": "trials\nwithout", "front": "points of\nthe front"}
    leaves = {"without": 2, "front": 1}
    columns = [Column(heading="axis", is_text=True)]
    columns += [Column(heading=heading, leaves=leaves.get(name)) for name, heading in headings.items()]
    table = FittedTable([*columns, Column(heading=f"best at\n{front.objectives[-1].unit}", is_text=True)], title=title)
    for one in front.attributions:
        table.add_row(one.printed["axes"], *(one.printed[key] for key in headings), one.printed["owns"])
    return table


def _at_infinity(front: Front) -> str:
    return f", {metric(front.objectives[0].name)} of infinitely many images" if front.is_at_infinity else ""


def _named(shown: Mapping[str, str]) -> tuple[str, str]:
    """Say which trial a row is, and what it does: name and schedule, then sampling. A free one is all dense."""
    free = "free" if shown["free"] else ""
    schedule = "" if free and shown["baseline"] else run_lengths(shown["schedule"])
    what = " ".join(one for one in (free, shown["baseline"], schedule) if one)
    return shown["trial"], f"{what}\n{run_lengths(shown['sampling'])}"


def metric(quality: str) -> str:
    """Shorten the name of a quality to its metric's, as a heading of a column."""
    return quality.partition("_")[0]


def _table(title: str, headings: Mapping[str, str]) -> FittedTable:
    leaves = {name: len(_LEAVE_FIRST) - place for place, name in enumerate(_LEAVE_FIRST)}
    columns = [Column(heading="trial"), Column(heading="schedule", is_text=True)]
    columns += [Column(heading=heading, leaves=leaves.get(name)) for name, heading in headings.items()]
    return FittedTable(columns, title=title)


def front_frame(front: Front, *, only: Container[int] | None = None) -> "pd.DataFrame":
    """Give every complete trial, or only some by number, one row each, with `on_front` and what was measured again."""
    import pandas as pd  # half a second, which tables on a terminal need not wait for

    rows = []
    for record in front.complete.values():
        if only is not None and record.number not in only:
            continue
        row = front.row(record)
        flat = row.to_flat()
        if row.confirmed is not None and front.confirmation is not None:
            flat |= {"confirmed_images": front.confirmation.images, "confirmed_seeds": len(front.confirmation.seeds)}
            flat |= row.confirmed.to_flat()
        rows.append(flat)
    return pd.DataFrame(rows)


def summary_lines(front: Front, *, run: str = "RUN") -> list[str]:
    """Say what the columns mean, what is claimed, counts, noise beside the spread of the front, and cost.

    Once there is a confirmation, claim and noise are its own. Hints name the run directory `run`.
    """
    quality, latency = front.objectives
    counts = ", ".join(f"{num} {state}" for state, num in front.counts.items() if num)
    lines = [f"Trials: {counts or 'none'}. Hypervolume {front.hypervolume:.4g}."]
    if front.points:
        roles = ", ".join(legend(map(str, front.schedules)))
        lines.insert(0, _LEGEND.format(roles=roles, quality=metric(quality.name)))
    if front.left_out:
        trials = "trial" if front.left_out == 1 else "trials"
        lines.append(f"Left out: {front.left_out} complete {trials} under another protocol than most.")
    if front.points:
        lines.append(headline(front.best_known, quality=quality.name)[0])
    if front.disagreement is not None:
        lines.append(f"Warning: {warning(front.disagreement, run)}.")
    values = [one.distance for one in front.best_known.best]
    margin, confirmation, noise = front.best_known.quality_margin, front.confirmation, front.noise
    if margin is not None and values:
        of = f"{noise.num_seeds} seeds" if noise is not None and confirmation is None else "the confirmation"
        lines.append(
            f"Noise: differences of {quality.name} below {rounded(margin, 2)} may be noise (95 %, paired, by {of}); "
            f"the front spans {min(values):.4g} to {max(values):.4g}."
        )
    if front.latency_spread is not None and confirmation is None:
        lines.append(
            f"Spread of {latency.name}: {front.latency_spread:.1%} of it (half of the range of the middle half of the "
            "repetitions, median over trials)."
        )
    if (gained := compile_speedups(front)) is not None:
        dense, (low, high) = gained
        lines.append(
            f"Compiled graphs beside eager ones: the dense base {dense:.2f}x as fast, searched trials {low:.2f}x to "
            f"{high:.2f}x."
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


def compile_speedups(front: Front) -> tuple[float, tuple[float, float]] | None:
    """Give how many times as fast compiled graphs are: of the dense base at the most steps, and the range of searched
    trials; None where nothing was compiled, or there is neither."""

    def gained(point: FrontPoint) -> float | None:
        eager, own = point.record.measurements.get(EAGER), point.record.measurements[front.objectives[-1].name]
        return None if eager is None else eager.value / own.value

    points = front.as_searched
    dense = [found for one in points.dense if (found := gained(one)) is not None]
    searched = [found for one in points.points if one.record.baseline is None and (found := gained(one)) is not None]
    return (dense[-1], (min(searched), max(searched))) if dense and searched else None


def confirmed_lines(front: Front) -> list[str]:
    """Say what the confirmation shows of the points that the search had put on its front."""
    found = front.confirmation
    if found is None:
        return []
    verdicts = {record.number: found.points[record.number].verdict for record in front.confirmed}
    searched = {record.number: verdicts.get(record.number) for record in front.searched}
    counts = []
    for verdict in ("confirmed", "within noise", "not confirmed"):
        numbers = [str(number) for number, one in searched.items() if one == verdict]
        trials = "trial" if len(numbers) == 1 else "trials"
        named = f" ({trials} {', '.join(numbers)})" if numbers and verdict != "confirmed" else ""
        counts.append(f"{len(numbers)} {verdict}{named}")
    again = [number for number, verdict in searched.items() if verdict is not None]
    lines = [
        f"Of {len(again)} searched points of the front that were measured again, {', '.join(counts)}. "
        "On the front: the probability that no other of these is better in both."
    ]
    gained = [str(n) for n, verdict in verdicts.items() if verdict == "confirmed" and n not in front.on_front]
    if gained:
        lines.append(f"Not on the searched front, but on this one: trial {', '.join(gained)}.")
    if front.num_unconfirmed:
        lines.append(
            f"{front.num_unconfirmed} trials were not measured again: nothing is claimed of them (--json, front.csv)."
        )
    if found.left_out:
        lines.append(f"Left out: {found.left_out} measurements under another protocol than most.")
    return lines
