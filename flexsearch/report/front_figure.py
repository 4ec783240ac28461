"""Draw the front as an interactive plot, for the dashboard and the page; the same series and bars as in `plot.py`."""

from typing import Any

import plotly.graph_objects as go

from flexsearch.report.confirmation import Confirmation
from flexsearch.report.front import Front
from flexsearch.report.gain import gain_of
from flexsearch.report.palette import CONFIRMED, FRONT
from flexsearch.report.points import FrontPoint, is_free, is_plain
from flexsearch.report.series import Series, bars, series_of

_AXIS = {"gridcolor": "rgba(128,138,150,0.22)", "zeroline": False, "linecolor": "rgba(128,138,150,0.6)", "ticks": ""}
_LOOKS = (
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

    Bars are one paired standard deviation of the quality and the spread of the latency; what was measured again has
    95 % intervals. The background is transparent.
    """
    quality, latency = front.objectives
    figure = go.Figure([_trace(front, one, *look) for one, look in zip(series_of(front), _LOOKS, strict=True)])
    if front.confirmation is not None:
        figure.add_trace(_confirmed(front, front.confirmation))
    figure.update_layout(
        template="none",
        xaxis={"title": {"text": f"latency ({latency.unit}), lower is better"}, **_AXIS},
        yaxis={"title": {"text": f"{quality.name}, lower is better"}, **_AXIS},
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
    across, upright = bars(front, series)
    return go.Scatter(
        x=[one.latency_ms for one in series.points],
        y=[one.quality for one in series.points],
        text=[_hover(front, one) for one in series.points],
        hovertemplate="%{text}<extra></extra>",
        name=series.name,
        mode="markers" if series.line == "none" else "lines+markers",
        line={"color": series.color, "width": 2, "dash": _DASHES[series.line]},
        marker={"color": series.color, "symbol": symbol, "size": size},
        error_x=_bars(across, series.color),
        error_y=None if upright is None else _bars(upright, series.color),
    )


def _hover(front: Front, point: FrontPoint) -> str:
    """Say what is read under the pointer."""
    record = point.record
    lines = [f"<b>trial {record.number}</b>" + (f", {record.baseline}" if record.baseline else "")]
    lines += [str(record.candidate.schedule), str(record.candidate.sampling)]
    lines.append(f"{front.objectives[0].name} {point.quality:.4g}, {point.latency_ms:.4g} {front.objectives[-1].unit}")
    found = gain_of(front.as_searched, point)
    if not is_plain(record) and found.speedup is not None:
        lines.append(f"{found.speedup:.2f}x as fast as dense at the same steps")
    if not (record.baseline and is_free(record)) and found.quality is not None:
        lines.append(f"{found.quality:+.3g} over the free baselines at equal latency")
    if found.over_found is not None:
        lines.append(f"{found.over_found:+.3g} over all that is free")
    return "<br>".join(lines)


def _bars(half_widths: list[float], color: str) -> dict[str, Any]:
    return {"type": "data", "array": half_widths, "thickness": 1, "width": 3, "color": color}


def _confirmed(front: Front, confirmation: Confirmation) -> go.Scatter:
    """Draw the points that were measured again, with 95 % intervals."""
    points = [confirmation.points[record.number] for record in front.confirmed]
    return go.Scatter(
        x=[point.latency.value for point in points],
        y=[point.quality.value for point in points],
        text=[
            f"<b>trial {record.number}</b>, measured again: {point.verdict}<br>"
            f"{record.baseline or record.candidate}<br>"
            f"{point.quality} at {point.latency}<br>on the front: {point.front_probability:.0%}"
            for record, point in zip(front.confirmed, points, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
        name=f"measured again: {confirmation.shown_size} images, 95 %",
        mode="markers",
        marker={"color": CONFIRMED, "symbol": "diamond", "size": 9},
        error_x=_bars([point.latency.half_width for point in points], CONFIRMED),
        error_y=_bars([point.quality.half_width for point in points], CONFIRMED),
    )
