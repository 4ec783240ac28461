"""The front as text and as a data frame."""

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from flexsearch.report.claims import compare, largest_gain
from flexsearch.report.confirmed_table import confirmed_frame
from flexsearch.report.front import Front
from flexsearch.study.store import TrialRecord

_LEGEND = (
    "P pool, M merge, s sparse, R recover, D dense; @ sparse grids from data to noise. Speed-up: over the dense base "
    "at the same steps. Gain: over the dense base at fewer steps and equal latency (fastest: none of these is as fast)."
)

_PREDICTED_DISTANCE = (
    "Outlook: the dense base's quality at these steps, more the farther samples are from the dense base's own. It "
    "ranks trials by what long training should make of them (*: none is as fast with a better one); it is no forecast."
)


def front_table(front: Front) -> Table:
    """The front, fastest first, then what else is best by outlook, then the baselines that are on neither.

    "speed-up": latency of the dense base at the same sampler steps over this one's. "gain": how much better the quality
    is than the dense base's at fewer steps and equal latency. "outlook": what long training should make of it, with a
    star where no other trial beats it in outlook and latency.
    """
    quality, latency = front.objectives
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        collapse_padding=True,
        title=f"Pareto front of {front.study}",
        title_justify="left",
    )
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("schedule", overflow="fold")
    name = quality.name.replace("_", "\n")
    columns = ["steps", name, latency.unit.replace("/", "/\n"), "MACs", "speed-\nup", "gain"]
    for column in [*columns, "outlook"] if front.predicted_distances else columns:
        table.add_column(column, justify="right", no_wrap=True)
    for section in front.sections:
        for record in section:
            table.add_row(
                *_cells(front, record), style=None if record in (*front.points, *front.predicted_front) else "dim"
            )
        table.add_section()
    return table


def _cells(front: Front, record: TrialRecord) -> list[str]:
    quality, latency = (record.measurements[objective.name] for objective in front.objectives)
    compared = compare(front, record)
    spread = "" if latency.spread is None else f" ±{latency.spread:.1g}"
    is_dense = record.candidate.schedule.is_dense
    ratio = record.measurements["macs"].value / front.dense_macs if front.dense_macs else float("nan")
    cells = [
        str(record.number),
        str(record.candidate.schedule) + (f"\n{record.baseline}" if record.baseline else ""),
        str(record.candidate.sampling.steps),
        f"{quality.value:.2f}",
        f"{latency.value:.3g}{spread}",
        f"{ratio:.0%}",
        "" if compared.speedup is None or is_dense else f"{compared.speedup:.2f}x",
        "fastest" if compared.gain is None else "" if is_dense else f"{compared.gain:+.2f}",
    ]
    return [*cells, front.predicted_distance_text(record)] if front.predicted_distances else cells


def front_frame(front: Front) -> pd.DataFrame:
    """Every complete trial, one row each, with `on_front`."""
    rows = []
    for _, record in sorted(front.complete.items()):
        row = front.row(record)
        compared = compare(front, record)
        rows.append(
            {
                "trial": row["trial"],
                "on_front": record in front.points,
                "baseline": row["baseline"],
                "schedule": str(record.candidate.schedule),
                "sampler_steps": record.candidate.sampling.steps,
                **row["values"],
                "latency_spread": record.measurements[front.objectives[-1].name].spread,
                "macs": row["macs"],
                "macs_ratio": row["macs_ratio"],
                "speedup_at_same_steps": compared.speedup,
                "gain_over_fewer_steps": compared.gain,
                "outlook": front.predicted_distances.get(record.number),
                "promising": record in front.predicted_front,
                "digest": row["digest"],
            }
        )
    frame = pd.DataFrame(rows)
    if front.confirmation is None:
        return frame
    return frame.merge(confirmed_frame(front, front.confirmation), on="trial", how="left")


def summary_lines(front: Front) -> list[str]:
    """What the columns mean, counts, hypervolume, noise beside the spread of the front, and cost."""
    counts = ", ".join(f"{num} {state}" for state, num in front.counts.items() if num)
    lines = [f"Trials: {counts or 'none'}. Hypervolume {front.hypervolume:.4g}."]
    if front.points:
        lines.insert(0, _LEGEND)
    if front.predicted_distances:
        lines.append(_PREDICTED_DISTANCE)
    quality = front.objectives[0]
    if (best := largest_gain(front)) is not None and best.speedup is not None:
        lines.append(
            f"Largest gain: trial {best.record.number}, {best.speedup:.2f}x faster than the dense base at its "
            f"{best.record.candidate.sampling.steps} steps, {quality.name} {best.gain:+.3g} better than the dense "
            "base at fewer steps and equal latency."
        )
    values = [front.values(record)[0] for record in front.points]
    if front.noise is not None and values:
        lines.append(
            f"Noise of {quality.name}: {front.noise.paired:.2g} paired, {front.noise.unpaired:.2g} unpaired (sd over "
            f"{front.noise.num_seeds} seeds, {front.noise.num_schedules} schedules); "
            f"the front spans {min(values):.4g} to {max(values):.4g}."
        )
    if front.latency_spread is not None:
        lines.append(
            f"Spread of {front.objectives[-1].name}: {front.latency_spread:.1%} of it (half of the range of the middle "
            "half of the repetitions, median over trials)."
        )
    if front.rank_correlations:
        taus = ", ".join(
            f"{one.tau:.2f} between {one.by} after {one.earlier} and {one.later_by} after {one.later} updates "
            f"({one.num_pairs} pairs)"
            for one in front.rank_correlations
        )
        lines.append(f"Ranking at equal sampler steps: Kendall's tau {taus}.")
    if front.costs:
        total = sum(cost.seconds for cost in front.costs)
        shared = sum(cost.seconds for cost in front.costs if ":" not in cost.what)
        again = sum(cost.seconds for cost in front.costs if cost.what.startswith("confirm:"))
        confirmed = f" and {again / 60:.1f} for the confirmation" if again else ""
        lines.append(
            f"Cost: {total / 60:.1f} device minutes, {shared / 60:.1f} of them for what trials share{confirmed}."
        )
    return lines
