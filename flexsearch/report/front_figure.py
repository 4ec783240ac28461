"""Draw the front as an interactive plot, for the dashboard and the page; the same series and bars as in `plot.py`."""

from typing import Any

import plotly.graph_objects as go

from flexsearch.report.front import Front
from flexsearch.report.palette import FRONT
from flexsearch.report.points import FrontPoint
from flexsearch.report.series import Series, bars, images_of, series_of

_AXIS = {"gridcolor": "rgba(128,138,150,0.22)", "zeroline": False, "linecolor": "rgba(128,138,150,0.6)", "ticks": ""}
_LOOKS = (
    ("circle", 8),
    ("circle", 8),
    ("square", 8),
    ("triangle-up", 9),
    ("star", 15),
    ("circle", 9),
    ("circle", 10),
)  # marker and its size, of each series
_DASHES = {"dashed": "dash", "solid": "solid", "none": "solid"}


def front_figure(front: Front) -> go.Figure:
    """Draw quality against latency: the front, what is free, the paper's schedule, all other trials.

    Bars hold 95 % of the paired noise. Once there is a confirmation, its points are filled and all others hollow. The
    background is transparent.
    """
    quality, latency = front.objectives
    figure = go.Figure(
        [_trace(front, one, *look) for one, look in zip(series_of(front), _LOOKS, strict=True) if one.points]
    )
    figure.update_layout(
        template="none",
        xaxis={"title": {"text": f"latency ({latency.unit}), lower is better"}, "rangemode": "nonnegative", **_AXIS},
        yaxis={"title": {"text": f"{quality.name} ({images_of(front)}), lower is better"}, **_AXIS},
        title={"text": f"{front.study}: quality and latency", "x": 0.01, "xanchor": "left", "font": {"size": 16}},
        font={"family": "Inter, system-ui, sans-serif", "size": 13, "color": "#6b7684"},
        legend={"x": 1, "xanchor": "right", "y": 1, "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"},
        margin={"l": 64, "r": 20, "t": 52, "b": 52},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#98a2b3", "activecolor": FRONT},
        hoverlabel={"align": "left"},
    )
    return figure


def _trace(front: Front, series: Series, symbol: str, size: int) -> go.Scatter:
    across, upright = bars(series)
    return go.Scatter(
        x=[one.latency_ms for one in series.points],
        y=[one.distance for one in series.points],
        text=[_hover(front, one) for one in series.points],
        hovertemplate="%{text}<extra></extra>",
        name=series.name,
        mode="markers" if series.line == "none" else "lines+markers",
        line={"color": series.color, "width": 2, "dash": _DASHES[series.line]},
        marker={"color": series.color, "symbol": f"{symbol}-open" if series.is_hollow else symbol, "size": size},
        error_x=_bars(across, series.color),
        error_y=_bars(upright, series.color),
    )


def _hover(front: Front, point: FrontPoint) -> str:
    """Say what is read under the pointer."""
    record = point.record
    lines = [f"<b>trial {record.number}</b>" + (f", {record.baseline}" if record.baseline else "")]
    lines += [str(record.candidate.schedule), str(record.candidate.sampling)]
    lines.append(f"{front.objectives[0].name} {point.distance:.4g}, {point.latency_ms:.4g} {front.objectives[-1].unit}")
    if (speedup := front.row(record).speedup) is not None:
        lines.append(f"{speedup} as fast as what is free at equal quality")
    return "<br>".join(lines)


def _bars(half_widths: list[float], color: str) -> dict[str, Any]:
    return {"type": "data", "array": half_widths, "thickness": 1, "width": 3, "color": color}
