"""Draw a schedule as a picture: blocks across, stages of diffusion time down, colour by role, label by token grid.

The label is the grid of the tokens that leave the block; a video's frames stand above it. Stages run from
data (0) to noise (1).
"""

import io
import re
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch
from matplotlib.style import context

from flexsearch.files import replacing
from flexsearch.report.palette import INK, MUTED, role_colours
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.role import ROLES, Operation
from flexsearch.schedule.shape import TokenGrid

STYLE = {"svg.fonttype": "none", "svg.hashsalt": "flexsearch", "pdf.fonttype": 42, "font.family": "sans-serif"}
"""Text stays text in SVG and PDF, and the same picture is the same file."""

_ROW, _BAND, _TOP, _BOTTOM = 0.44, 1.0, 0.3, 0.42  # inches
_GAP = 0.07  # of a cell, between cells


def schedule_figure(
    schedule: DensitySchedule, grid: TokenGrid, *, title: str | None = None, has_legend: bool = True
) -> Figure:
    """Draw the picture.

    Args:
        schedule: at least one block.
        grid: of the dense tokens; a video has frames in it.
        title: above the picture.
        has_legend: names the roles below it.
    """
    routes, edges = schedule.routes(grid), schedule.timetable.edges
    column = 0.52 if schedule.num_blocks <= 16 else 0.46  # inches
    below = _BOTTOM if has_legend else 0.05
    above = _TOP + (0.3 if title else 0.0)
    across, down = column * schedule.num_blocks, _ROW * len(routes)
    wide, high = _BAND + across + 0.12, above + down + below
    figure = Figure(figsize=(wide, high), dpi=160)
    axes = figure.add_axes((_BAND / wide, below / high, across / wide, down / high))
    axes.set_xlim(0, schedule.num_blocks)
    axes.set_ylim(len(routes), 0)
    axes.axis("off")
    for stage, (route, (low, top)) in enumerate(zip(routes, pairwise(edges), strict=True)):
        for operation in route:
            _cell(axes, operation, stage=stage, column=column)
        axes.text(
            -0.12, stage + 0.5, f"t {low:.2f}\N{EN DASH}{top:.2f}", ha="right", va="center", fontsize=8.5, color=INK
        )
    for block in range(schedule.num_blocks):
        axes.text(block + 0.5, -0.1, str(block), ha="center", va="bottom", fontsize=8, color=MUTED)
    axes.text(-0.12, -0.1, "block", ha="right", va="bottom", fontsize=8, color=MUTED)
    if title:
        figure.text(0.12 / wide, 1 - 0.1 / high, title, ha="left", va="top", fontsize=10, weight="bold", color=INK)
    if has_legend:
        _legend(figure, schedule, wide=wide)
    return figure


def _cell(axes: Axes, operation: Operation, *, stage: int, column: float) -> None:
    """Draw a block in one stage, with its grid."""
    grid = operation.queries
    fill, text = role_colours(operation.role)
    lines = [f"{grid.frames}f"] * (grid.frames > 1) + [f"{grid.height}\N{MULTIPLICATION SIGN}{grid.width}"]
    axes.add_patch(
        FancyBboxPatch(
            (operation.block + _GAP, stage + _GAP),
            1 - 2 * _GAP,
            1 - 2 * _GAP,
            boxstyle="round,pad=0,rounding_size=0.09",
            mutation_aspect=column / _ROW,
            linewidth=0,
            facecolor=fill,
        )
    )
    axes.text(
        operation.block + 0.5,
        stage + 0.52,
        "\n".join(lines),
        ha="center",
        va="center",
        fontsize=min(9.5 if len(lines) == 1 else 7, 72 * column * (1 - 3 * _GAP) / (0.66 * len(lines[-1]))),
        linespacing=1.05,
        color=text,
    )


def _legend(figure: Figure, schedule: DensitySchedule, *, wide: float) -> None:
    """Name the roles that are played."""
    played = [role for role in ROLES if role in schedule.roles]
    legend = figure.legend(
        handles=[Patch(facecolor=role_colours(role)[0], label=role) for role in played],
        loc="lower left",
        bbox_to_anchor=(_BAND / wide - 0.03 / wide, 0),
        ncols=len(played) if wide > 4 else 3,
        frameon=False,
        fontsize=8,
        handlelength=1.0,
        handleheight=1.0,
        handletextpad=0.5,
        columnspacing=1.3,
        borderpad=0.2,
    )
    for text in legend.get_texts():
        text.set_color(INK)


def write_schedule_picture(schedule: DensitySchedule, grid: TokenGrid, path: Path, *, title: str | None = None) -> None:
    """Write the picture; the suffix decides the format (.png, .svg, .pdf)."""
    with context(STYLE), replacing(path) as temporary:
        schedule_figure(schedule, grid, title=title).savefig(temporary)


def schedule_svg(schedule: DensitySchedule, grid: TokenGrid) -> str:
    """Give the picture as an `<svg>` element for a page, which says the roles' names."""
    return inline_svg(schedule_figure(schedule, grid, has_legend=False))


def inline_svg(figure: Figure) -> str:
    """Write a figure as an `<svg>` element without a prologue; transparent, its ink the page's text colour."""
    written = io.StringIO()
    with context(STYLE):
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Type": None})
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", written.getvalue(), flags=re.DOTALL)
    return text[text.index("<svg") :].replace(INK, "currentColor").replace(MUTED, "currentColor")
