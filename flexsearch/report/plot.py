"""Draw the front as a picture: quality against measured latency, baselines marked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from flexsearch.files import replacing
from flexsearch.report.confirmation import Confirmation
from flexsearch.report.front import Front
from flexsearch.report.palette import CONFIRMED, GRID, INK, MUTED
from flexsearch.report.points import FrontPoint
from flexsearch.report.schedule_picture import STYLE
from flexsearch.report.series import Series, bars, series_of

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
_MARK_PX = 5  # half the side of what a mark covers

# marker, its size in points, zorder; of each series
_LOOKS = (("o", 4, 2), ("s", 4.5, 3), ("^", 5, 4), ("*", 9.5, 5), ("o", 5, 6), ("o", 5.5, 6))


def plot_front(front: Front, path: Path) -> None:
    """Write the picture; the suffix decides the format (.png, .svg, .pdf), the content is the same in all.

    Bars are one paired standard deviation of the quality, and the half interquartile range of the latency. Points that
    were measured again have their 95 % intervals.
    """
    with context(_STYLE), replacing(path) as temporary:
        front_picture(front).savefig(temporary)


@context(_STYLE)
def front_picture(front: Front) -> Figure:
    """Draw the picture with matplotlib."""
    figure = Figure(figsize=(8, 5), dpi=180, layout="constrained")
    axes = figure.add_subplot()
    quality, latency = front.objectives
    every = series_of(front)
    for series, look in zip(every, _LOOKS, strict=True):
        _draw(axes, series, *look)
    for series in every[1:]:
        _bars(axes, front, series)
    if front.confirmation is not None:
        _confirmed(axes, front.confirmation)
    device = latency.protocol.get("device")
    axes.set_xlabel(f"latency ({latency.unit})" + (f", measured on {device}" if device else ""))
    axes.set_ylabel(f"{quality.name} ({quality.protocol.get('images')} images; lower is better)")
    title = f"{front.study}: quality and latency, hypervolume {front.hypervolume:.4g}"
    axes.set_title(title, loc="left", fontsize=11, weight="bold", pad=12)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.06)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8.5, loc="best")
    _label(figure, axes, every)
    return figure


def _draw(axes: Axes, series: Series, marker: str, size: float, zorder: int) -> None:
    if series.points:
        axes.plot(
            [one.latency_ms for one in series.points],
            [one.quality for one in series.points],
            color=series.color,
            linestyle=series.line,
            linewidth=1.4,
            marker=marker,
            markersize=size,
            label=series.name,
            zorder=zorder,
        )


def _bars(axes: Axes, front: Front, series: Series) -> None:
    across, upright = bars(front, series)
    axes.errorbar(
        [one.latency_ms for one in series.points],
        [one.quality for one in series.points],
        xerr=across,
        yerr=upright,
        fmt="none",
        ecolor=series.color,
        alpha=0.5,
        capsize=2,
        zorder=3,
    )


def _confirmed(axes: Axes, confirmation: Confirmation) -> None:
    """Draw what was measured again: filled where confirmed, hollow where that is open, a cross where not."""
    for verdict, marker, face in (
        ("confirmed", "D", CONFIRMED),
        ("within noise", "D", "white"),
        ("not confirmed", "x", CONFIRMED),
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


def _label(figure: Figure, axes: Axes, series: Sequence[Series]) -> None:
    """Name searched points by their trial, the dense base's by their steps, and the free baselines' by their sampling.

    No point of a front lies above and to the right of another, nor below and to the left: names go to these two places.
    A name that would cover another one, a mark or the legend, or leave the axes, is left out; the table has them all.
    """
    _, dense, free, paper, found_free, trained = series
    names = [(one, str(one.record.number), False, which) for which in (trained, found_free) for one in which.points]
    names += [(one, f"{one.record.candidate.sampling.steps} steps", True, dense) for one in dense.points]
    names += [(one, str(one.record.candidate.sampling), True, free) for one in free.points if one not in dense.points]
    figure.draw_without_rendering()
    marked = [one.objectives[::-1] for which in (dense, free, paper, found_free, trained) for one in which.points]
    taken = [Bbox([[x - _MARK_PX, y - _MARK_PX], [x + _MARK_PX, y + _MARK_PX]]) for x, y in _pixels(axes, marked)]
    if (legend := axes.get_legend()) is not None:
        taken.append(legend.get_window_extent())
    room = axes.get_window_extent()
    for one, name, is_above_first, which in names:
        for is_above in (is_above_first, not is_above_first):
            text = _name(axes, one, name, is_above=is_above, color=which.color)
            box = text.get_window_extent()
            is_inside = room.x0 <= box.x0 and box.x1 <= room.x1
            if is_inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def _pixels(axes: Axes, points: Sequence[tuple[float, float]]) -> np.ndarray:
    return np.asarray(axes.transData.transform(points)) if points else np.empty((0, 2))


def _name(axes: Axes, point: FrontPoint, name: str, *, is_above: bool, color: str) -> Annotation:
    text = axes.annotate(
        name,
        (point.latency_ms, point.quality),
        xytext=(3, 3) if is_above else (-3, -3),
        textcoords="offset points",
        horizontalalignment="left" if is_above else "right",
        verticalalignment="bottom" if is_above else "top",
        fontsize=7.5,
        color=color,
    )
    text.set_in_layout(False)  # where the axes are was decided without it
    return text
