"""Labels of points that cover neither each other nor a point nor a line.

Greedy, in the order given: each label takes the first of a ring of places around its point that is free. Where none is,
the place with least covered is taken, so no label is lost. Point-feature labelling by the four- and eight-position
model of E. Imhof, "Positioning names on maps" (1975).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

_PLACES = (  # (x, y) of the label's near side from the point, best first: above right is what readers expect
    (1, 1), (-1, -1), (1, -1), (-1, 1), (0, 1), (0, -1), (1, 0), (-1, 0),
)  # fmt: skip
_DISTANCES_PT = (5.0, 9.0, 14.0, 20.0)
_POINT_PX = 6.0  # half the side of what a marker covers, at 100 dots per inch
_SAMPLES = 40  # along a line


@dataclass(frozen=True, kw_only=True)
class Label:
    """A text for one point, in data coordinates."""

    text: str
    point: tuple[float, float]
    color: str


def place_labels(
    axes: Axes,
    labels: Sequence[Label],
    *,
    points: Sequence[tuple[float, float]],
    lines: Sequence[Sequence[tuple[float, float]]] = (),
    fontsize: float = 8,
) -> list[Annotation]:
    """Writes the labels. Call it last: limits of the axes must stay as they are.

    Args:
        axes: to write on.
        labels: the more important ones first.
        points: all markers of the plot, in data coordinates.
        lines: polylines, in data coordinates.
        fontsize: in points.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes are part of a figure"
    figure.draw_without_rendering()
    half = _POINT_PX * figure.dpi / 100
    covered = [_square(spot, half) for spot in axes.transData.transform(np.array(points).reshape(-1, 2))]
    for line in lines:
        ends = axes.transData.transform(np.array(line).reshape(-1, 2))
        for start, end in pairwise(ends):
            covered += [_square(start + (end - start) * share, 1.0) for share in np.linspace(0, 1, _SAMPLES)]
    legend = axes.get_legend()
    if legend is not None:
        covered.append(legend.get_window_extent())
    written = []
    inside = axes.get_window_extent()
    for label in labels:
        found = _best(axes, label, covered, inside=inside, fontsize=fontsize)
        written.append(found)
        covered.append(found.get_window_extent().padded(1.0))
    return written


def _best(axes: Axes, label: Label, covered: Sequence[Bbox], *, inside: Bbox, fontsize: float) -> Annotation:
    """The label at the first free place, or at the least bad one."""
    text = axes.annotate(
        label.text, label.point, textcoords="offset points", xytext=(0, 0), fontsize=fontsize, color=label.color
    )
    worst: list[tuple[float, tuple[float, float], str, str]] = []
    for distance in _DISTANCES_PT:
        for x, y in _PLACES:
            across = {1: "left", -1: "right", 0: "center"}[x]
            upright = {1: "bottom", -1: "top", 0: "center"}[y]
            reach = distance if 0 in (x, y) else distance * 0.75
            _move(text, (x * reach, y * reach), across, upright)
            box = text.get_window_extent()
            hidden = sum(_overlap(box, other) for other in covered)
            hidden += box.width * box.height - _overlap(box, inside)
            if hidden == 0:
                return text
            worst.append((hidden, (x * reach, y * reach), across, upright))
    _, offset, across, upright = min(worst)
    _move(text, offset, across, upright)
    return text


def _move(text: Annotation, offset: tuple[float, float], across: str, upright: str) -> None:
    text.update({"position": offset, "horizontalalignment": across, "verticalalignment": upright})


def _square(centre: np.ndarray, half: float) -> Bbox:
    x, y = centre
    return Bbox.from_extents(x - half, y - half, x + half, y + half)


def _overlap(a: Bbox, b: Bbox) -> float:
    """The area that two boxes share, in square pixels."""
    wide = min(a.x1, b.x1) - max(a.x0, b.x0)
    high = min(a.y1, b.y1) - max(a.y0, b.y0)
    return float(max(0.0, wide) * max(0.0, high))
