"""The front as a picture: quality against measured latency, baselines marked."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from flexsearch.files import replacing
from flexsearch.report.claims import dense_curve
from flexsearch.report.confirmation import Confirmation
from flexsearch.report.front import Front
from flexsearch.study.store import TrialRecord

_FRONT, _DENSE, _PAPER, _OTHER, _CONFIRMED = "#0b6e99", "#444444", "#d1495b", "#b8c4cc", "#c77d0a"


def plot_front(front: Front, path: Path) -> None:
    """Writes a picture; the suffix decides the format (.png, .svg, .pdf).

    Bars are one paired standard deviation of the quality, and the half interquartile range of the latency. Points that
    were measured again have their 95 % intervals.
    """
    figure, axes = plt.subplots(figsize=(8, 5), dpi=150)
    quality, latency = front.objectives
    _scatter(axes, front, list(front.others), color=_OTHER, label="other trials", size=26, zorder=2)
    curve = dense_curve(front)
    _line(axes, front, curve, color=_DENSE, style="--", marker="s", label="dense base at fewer steps")
    for record in curve:
        x, y = _point(front, record)
        axes.annotate(
            f"{record.candidate.sampler_steps} steps",
            (x, y),
            xytext=(5, 5),
            textcoords="offset points",
            fontsize=8,
            color=_DENSE,
        )
    searched = [record for record in front.points if record.baseline is None]
    _line(axes, front, searched, color=_FRONT, style="-", marker="o", label="searched schedules on the front")
    for record in searched:
        axes.annotate(
            str(record.number),
            _point(front, record),
            xytext=(-6, -4),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=_FRONT,
        )
    paper = [record for record in front.baselines if not record.candidate.schedule.is_dense]
    _scatter(axes, front, paper, color=_PAPER, label="FlexDiT paper's schedule", size=90, zorder=5, marker="*")
    _bars(axes, front, searched, color=_FRONT)
    _bars(axes, front, front.baselines, color=_DENSE)
    if front.confirmation is not None:
        _confirmed(axes, front.confirmation)
    axes.set_xlabel(
        f"{latency.name.removesuffix('_ms')} ({latency.unit}), measured on {latency.protocol.get('device', '')}"
    )
    images = quality.protocol.get("images")
    again = "" if front.confirmation is None else f"; again: {front.confirmation.shown_size}, 95 %"
    axes.set_ylabel(f"{quality.name} ({images} images{again}; lower is better)")
    axes.set_title(f"{front.study}: hypervolume {front.hypervolume:.4g}", loc="left", fontsize=11)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary)
    plt.close(figure)


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
        ("stands", "D", _CONFIRMED),
        ("within noise", "D", "white"),
        ("did not stand", "x", _CONFIRMED),
    ):
        points = [point for point in confirmation.points.values() if point.verdict == verdict]
        if points:
            axes.errorbar(
                [point.latency.value for point in points],
                [point.quality.value for point in points],
                xerr=[point.latency.half_width for point in points],
                yerr=[point.quality.half_width for point in points],
                fmt=marker,
                color=_CONFIRMED,
                markerfacecolor=face,
                markersize=5,
                capsize=2,
                linewidth=1,
                zorder=6,
                label=f"measured again: {verdict}",
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
