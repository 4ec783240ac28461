"""The front as a picture: quality against measured latency, baselines marked."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context

from flexsearch.files import replacing
from flexsearch.report.claims import dense_curve
from flexsearch.report.confirmation import Confirmation
from flexsearch.report.front import Front
from flexsearch.report.labels import Label, place_labels
from flexsearch.report.palette import CONFIRMED, DENSE, FRONT, GRID, INK, MUTED, OTHER, PAPER
from flexsearch.report.schedule_picture import STYLE
from flexsearch.study.store import TrialRecord

_STYLE = {
    **STYLE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


def plot_front(front: Front, path: Path) -> None:
    """Writes the picture; the suffix decides the format (.png, .svg, .pdf), the content is the same in all.

    Bars are one paired standard deviation of the quality, and the half interquartile range of the latency. Points that
    were measured again have their 95 % intervals.
    """
    with context(_STYLE), replacing(path) as temporary:
        front_picture(front).savefig(temporary)


def front_picture(front: Front) -> Figure:
    """The picture as matplotlib draws it."""
    figure = Figure(figsize=(8, 5), dpi=180, layout="constrained")
    axes = figure.add_subplot()
    quality, latency = front.objectives
    _scatter(axes, front, list(front.others), color=OTHER, label="other trials", size=24, zorder=2)
    curve = dense_curve(front)
    _line(axes, front, curve, color=DENSE, style="--", marker="s", label="dense base at fewer steps")
    searched = [record for record in front.points if record.baseline is None]
    _line(axes, front, searched, color=FRONT, style="-", marker="o", label="searched schedules on the front")
    paper = [record for record in front.baselines if not record.candidate.schedule.is_dense]
    _scatter(axes, front, paper, color=PAPER, label="FlexDiT paper's schedule", size=90, zorder=5, marker="*")
    _bars(axes, front, searched, color=FRONT)
    _bars(axes, front, front.baselines, color=DENSE)
    if front.confirmation is not None:
        _confirmed(axes, front.confirmation)
    device = latency.protocol.get("device")
    axes.set_xlabel(f"latency ({latency.unit})" + (f", measured on {device}" if device else ""))
    images = quality.protocol.get("images")
    axes.set_ylabel(f"{quality.name} ({images} images; lower is better)")
    axes.set_title(
        f"{front.study}: quality and latency, hypervolume {front.hypervolume:.4g}",
        loc="left",
        fontsize=11,
        weight="bold",
        pad=12,
    )
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.06)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8.5, loc="upper right")
    labels = [Label(text=str(record.number), point=_point(front, record), color=FRONT) for record in searched]
    labels += [
        Label(text=f"{record.candidate.sampling.steps} steps", point=_point(front, record), color=DENSE)
        for record in curve
    ]
    points = [_point(front, record) for record in front.complete.values()]
    if front.confirmation is not None:
        points += [(point.latency.value, point.quality.value) for point in front.confirmation.points.values()]
    lines = [sorted(_point(front, record) for record in records) for records in (searched, curve) if records]
    place_labels(axes, labels, points=points, lines=lines)
    return figure


def _bars(axes: Axes, front: Front, records: Sequence[TrialRecord], *, color: str) -> None:
    """The noise of the quality, where it was measured, and the spread of the latency."""
    if records:
        x, y = zip(*(_point(front, record) for record in records), strict=True)
        spreads = [record.measurements[front.objectives[-1].name].spread or 0.0 for record in records]
        noise = None if front.noise is None else front.noise.paired
        axes.errorbar(x, y, yerr=noise, xerr=spreads, fmt="none", ecolor=color, alpha=0.5, capsize=2, zorder=3)


def _confirmed(axes: Axes, confirmation: Confirmation) -> None:
    """What was measured again: filled where it stands on the front, hollow where that is open, a cross where not."""
    for verdict, marker, face in (
        ("stands", "D", CONFIRMED),
        ("within noise", "D", "white"),
        ("did not stand", "x", CONFIRMED),
    ):
        points = [point for point in confirmation.points.values() if point.verdict == verdict]
        if points:
            axes.errorbar(
                [point.latency.value for point in points],
                [point.quality.value for point in points],
                xerr=[point.latency.half_width for point in points],
                yerr=[point.quality.half_width for point in points],
                fmt=marker,
                color=CONFIRMED,
                markerfacecolor=face,
                markersize=5,
                capsize=2,
                linewidth=1,
                zorder=6,
                label=f"again, {confirmation.shown_size} images, 95 %: {verdict}",
            )


def _point(front: Front, record: TrialRecord) -> tuple[float, float]:
    quality, latency = front.values(record)
    return latency, quality


def _scatter(
    axes: Axes,
    front: Front,
    records: list[TrialRecord],
    *,
    color: str,
    label: str,
    size: float,
    zorder: int,
    marker: str = "o",
) -> None:
    if records:
        x, y = zip(*(_point(front, record) for record in records), strict=True)
        axes.scatter(x, y, s=size, color=color, label=label, zorder=zorder, marker=marker)


def _line(
    axes: Axes, front: Front, records: list[TrialRecord], *, color: str, style: str, marker: str, label: str
) -> None:
    if records:
        x, y = zip(*sorted(_point(front, record) for record in records), strict=True)
        axes.plot(x, y, style, color=color, marker=marker, markersize=5, label=label, zorder=4, linewidth=1.4)
