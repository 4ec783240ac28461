"""Draw a run as a picture: a strip of its steps above the grid of its blocks.

The strip has a cell per step, from noise to data, its tone by what it computes. With guidance it has two lanes, one for
each row, so a step that computes one row has a cell in the first alone. The grid has blocks across,
stages of diffusion time down, colour by role, label by the grid of the tokens that leave the block; a video's frames
stand above it. A block that is computed in part fills as much of its cell, and below its grid stand the eighths of each
amount, which the legend names. Stages run from data (0) to noise (1). Where a stage has partial steps, a line of them
follows that of its full steps, what they do not compute pale.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, Rectangle
from matplotlib.style import context

from flexsearch.files import replacing
from flexsearch.report.palette import INK, MUTED, STEPS, role_colours
from flexsearch.schedule.plan import Plan
from flexsearch.schedule.role import ROLES, Operation, Route
from flexsearch.schedule.width import EIGHTHS

STYLE = {"svg.fonttype": "none", "svg.hashsalt": "flexsearch", "pdf.fonttype": 42, "font.family": "sans-serif"}
"""Text stays text in SVG and PDF, and the same picture is the same file."""

_ROW, _BAND, _TOP, _BOTTOM = 0.44, 1.0, 0.3, 0.42  # inches
_LANE, _UNDER = 0.27, 0.2  # of the strip: a lane's height, the room below it
_WIDEST_STEP, _NARROWEST_NAMED = 0.52, 0.1  # of a step's cell; narrower ones have no letter
_NARROWEST_TIME = 0.55  # between two times below the strip
_LEFT = -0.06  # where names beside the strip end
_GAP = 0.07  # of a cell, between cells
_PALE = 0.22  # opacity of what is not computed
_KINDS = {"F": "full step", "p": "partial", "n": "null", "m": "data mean", "g": "covariance"}


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A line of the grid: a stage's blocks as its full steps compute them, or as its partial ones do.

    Attributes:
        route: what the stage's full steps compute.
        computed: blocks that are computed.
        label: the stage's times, or which steps do so.
    """

    route: Route
    computed: frozenset[int]
    label: str


def _lines(plan: Plan) -> Iterator[_Line]:
    schedule = plan.candidate.schedule
    routes = schedule.routes(plan.target.shape.grid)
    for stage, (route, (low, top)) in enumerate(zip(routes, pairwise(schedule.timetable.edges), strict=True)):
        every = frozenset(operation.block for operation in route)
        yield _Line(route=route, computed=every, label=f"t {low:.2f}\N{EN DASH}{top:.2f}")
        partial = [step.graph for step in plan.steps if step.stage == stage and step.letter == "p"]
        kinds = {frozenset(o.block for o in one.route if o.block not in one.reused_blocks) for one in partial}
        for computed in sorted(kinds, key=sorted):
            yield _Line(route=route, computed=computed, label="partial")


def run_figure(plan: Plan, *, title: str | None = None, has_legend: bool = True) -> Figure:
    """Draw the picture.

    Args:
        plan: of at least one block.
        title: above the picture.
        has_legend: names kinds of steps and roles below it.
    """
    schedule, lines, names = plan.candidate.schedule, list(_lines(plan)), _amounts(plan)
    column = 0.52 if schedule.num_blocks <= 16 else 0.46  # inches
    below = _BOTTOM if has_legend else 0.05
    above = 0.05 + (0.3 if title else 0.0)
    strip = plan.target.rows * _LANE + _UNDER
    across, down = column * schedule.num_blocks, _ROW * len(lines)
    wide, high = _BAND + across + 0.12, above + strip + _TOP + down + below
    figure = Figure(figsize=(wide, high), dpi=160)
    upper = figure.add_axes((_BAND / wide, 1 - (above + strip) / high, across / wide, strip / high))
    _steps(upper, plan, across=across, strip=strip)
    axes = figure.add_axes((_BAND / wide, below / high, across / wide, down / high))
    axes.set_xlim(0, schedule.num_blocks)
    axes.set_ylim(len(lines), 0)
    axes.axis("off")
    for place, line in enumerate(lines):
        for operation in line.route:
            is_computed = operation.block in line.computed
            _cell(axes, operation, place=place, column=column, is_computed=is_computed, names=names)
        axes.text(-0.12, place + 0.5, line.label, ha="right", va="center", fontsize=8.5, color=INK)
    for block in range(schedule.num_blocks):
        axes.text(block + 0.5, -0.1, str(block), ha="center", va="bottom", fontsize=8, color=MUTED)
    axes.text(-0.12, -0.1, "block", ha="right", va="bottom", fontsize=8, color=MUTED)
    if len(lines) > 1:
        text, left = "data \N{RIGHTWARDS ARROW} noise", -(_BAND - 0.09) / column
        axes.text(left, len(lines) / 2, text, rotation=270, ha="center", va="center", fontsize=7, color=MUTED)
    if title:
        figure.text(0.12 / wide, 1 - 0.1 / high, title, ha="left", va="top", fontsize=10, weight="bold", color=INK)
    if has_legend:
        _legend(figure, plan, wide=wide)
    return figure


def _steps(axes: Axes, plan: Plan, *, across: float, strip: float) -> None:
    """Draw the strip, in inches: a cell for each step and row of guidance; a dash with the time where stages change."""
    rows, num = plan.target.rows, len(plan.steps)
    each = min(_WIDEST_STEP, across / num)
    axes.set_xlim(0, across)
    axes.set_ylim(strip, 0)
    axes.axis("off")
    for place, step in enumerate(plan.steps):
        fill, ink = STEPS[step.letter]
        for row in range(step.graph.rows if step.graph.calls_model else rows):
            gap = min(0.02, 0.1 * each)
            corner = (place * each + gap, row * _LANE + 0.02)
            axes.add_patch(Rectangle(corner, each - 2 * gap, _LANE - 0.04, linewidth=0, facecolor=fill))
        if each >= _NARROWEST_NAMED:
            middle = (place + 0.5) * each
            axes.text(middle, _LANE / 2, step.letter, ha="center", va="center", fontsize=min(8.5, 72 * each), color=ink)
    times = {num * each: "0 data", 0.0: "1 noise"} if num * each > _NARROWEST_TIME else {0.0: "1 noise"}
    for place, (one, other) in enumerate(pairwise(plan.steps), start=1):
        if one.stage != other.stage:
            axes.plot([place * each] * 2, [0, rows * _LANE + 0.03], color=MUTED, linewidth=1.1, clip_on=False)
            if all(abs(place * each - known) > _NARROWEST_TIME for known in times):
                times[place * each] = f"{plan.candidate.schedule.timetable.edges[one.stage]:g}"
    for where, text in times.items():
        side = "left" if where == 0 else "right" if text == "0 data" else "center"
        axes.text(where, rows * _LANE + 0.04, text, ha=side, va="top", fontsize=7, color=MUTED)
    axes.text(_LEFT, rows * _LANE + 0.04, "t", ha="right", va="top", fontsize=7, color=MUTED)
    for row, name in enumerate(("steps",) if rows == 1 else ("with condition", "without")):
        axes.text(_LEFT, (row + 0.5) * _LANE, name, ha="right", va="center", fontsize=8, color=MUTED)


def _amounts(plan: Plan) -> list[str]:
    """Names of the amounts in which some block is computed in part."""
    return sorted({name for stage in plan.candidate.schedule.amounts for block in stage for name, _ in block})


def _cell(
    axes: Axes, operation: Operation, *, place: int, column: float, is_computed: bool, names: Sequence[str]
) -> None:
    """Draw a block in one line, with its grid and how much of the named amounts it computes."""
    grid = operation.queries
    fill, text = role_colours(operation.role)
    lines = [f"{grid.frames}f"] * (grid.frames > 1) + [f"{grid.height}\N{MULTIPLICATION SIGN}{grid.width}"]
    if operation.amounts:
        lines.append("\N{MIDDLE DOT}".join(str(operation.amount(name, full=EIGHTHS)) for name in names))
    eighths = [operation.amount(name, full=EIGHTHS) for name in names]
    share = sum(eighths) / (EIGHTHS * len(eighths)) if operation.amounts else 1.0
    for part, opacity in (
        ((1.0, _PALE), (share, 1.0)) if is_computed and share < 1 else ((1.0, 1.0 if is_computed else _PALE),)
    ):
        axes.add_patch(
            FancyBboxPatch(
                (operation.block + _GAP, place + 1 - _GAP - part * (1 - 2 * _GAP)),
                1 - 2 * _GAP,
                part * (1 - 2 * _GAP),
                boxstyle="round,pad=0,rounding_size=0.09",
                mutation_aspect=column / _ROW,
                linewidth=0,
                facecolor=(*to_rgb(fill), opacity),
            )
        )
    if is_computed:
        axes.text(
            operation.block + 0.5,
            place + 0.52,
            "\n".join(lines),
            ha="center",
            va="center",
            fontsize=min(9.5 if len(lines) == 1 else 7, 72 * column * (1 - 3 * _GAP) / (0.66 * len(lines[-1]))),
            linespacing=1.05,
            color=text,
        )


def _legend(figure: Figure, plan: Plan, *, wide: float) -> None:
    """Name the kinds of steps, if there are several, and the roles that are played."""
    letters = {step.letter for step in plan.steps}
    kinds = [(STEPS[letter][0], name) for letter, name in _KINDS.items() if letter in letters and len(letters) > 1]
    played = [(role_colours(role)[0], role) for role in ROLES if role in plan.candidate.schedule.roles]
    names = _amounts(plan)
    amounts = [("none", f"of {EIGHTHS}: " + "\N{MIDDLE DOT}".join(names))] if names else []
    named = [*kinds, *played, *amounts]
    legend = figure.legend(
        handles=[Patch(facecolor=fill, label=name) for fill, name in named],
        loc="lower left",
        bbox_to_anchor=(_BAND / wide - 0.03 / wide, 0),
        ncols=len(named) if wide > 4 else 3,
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


def write_run_picture(plan: Plan, path: Path, *, title: str | None = None) -> None:
    """Write the picture; the suffix decides the format (.png, .svg, .pdf)."""
    with context(STYLE), replacing(path) as temporary:
        run_figure(plan, title=title).savefig(temporary)


def run_svg(plan: Plan) -> str:
    """Give the picture as an `<svg>` element for a page, which says what colours and letters are."""
    return inline_svg(run_figure(plan, has_legend=False))


def inline_svg(figure: Figure) -> str:
    """Write a figure as a short `<svg>` element without a prologue; transparent, its ink the page's text colour."""
    written = io.StringIO()
    with context(STYLE):
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Type": None})
    text = written.getvalue()
    for what, by in _SHORTER:
        text = re.sub(what, by, text, flags=re.DOTALL)
    return text[text.index("<svg") :].replace(INK, "currentColor").replace(MUTED, "currentColor")


_SHORTER = (
    (r"\s*<(metadata|defs)>.*?</\1>", ""),
    (r"<svg ", '<svg role="img" aria-label="drawn schedule" '),
    (r' (id|clip-path|xmlns:xlink|version)="[^"]*"| transform="rotate\(-0 [^"]*"', ""),
    (r"; font-family: [^;]*", ""),
    (r"<path d=\"[^\"]*\" style=\"fill: none\"/>", ""),
    (r"(\d+\.\d)\d+", r"\1"),
    (r"\s*([MLQz]) ?\s*(?=[\d.\"-])", r"\1"),
    (r">\s+<", "><"),
    (r"</?g>", ""),
    (r"\s+", " "),
)
"""What a page need not carry of matplotlib's SVG, and what stands in its place."""
