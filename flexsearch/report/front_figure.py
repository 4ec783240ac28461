"""The front as an interactive plot, for the dashboard and the page; the same series and bars as in `plot.py`."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from flexsearch.report.claims import compare, dense_curve
from flexsearch.report.confirmation import Confirmation
from flexsearch.report.front import Front
from flexsearch.report.palette import CONFIRMED, DENSE, FRONT, OTHER, PAPER
from flexsearch.study.store import TrialRecord

_AXIS = {"gridcolor": "rgba(128,138,150,0.22)", "zeroline": False, "linecolor": "rgba(128,138,150,0.6)", "ticks": ""}


def front_figure(front: Front) -> go.Figure:
    """Quality against latency: the front, the dense base over its steps, the paper's schedule and all other trials.

    Bars are one paired standard deviation of the quality and the spread of the latency; what was measured again has
    95 % intervals. The background is transparent.
    """
    quality, latency = front.objectives
    paper = [record for record in front.baselines if not record.candidate.schedule.is_dense]
    searched = [record for record in front.points if record.baseline is None]
    figure = go.Figure(
        [
            _trace(front, front.others, "other trials", mode="markers", color=OTHER, symbol="circle", size=8),
            _trace(
                front,
                dense_curve(front),
                "dense base at fewer steps",
                mode="lines+markers",
                color=DENSE,
                symbol="square",
                dash="dash",
            ),
            _trace(front, searched, "searched schedules on the front", mode="lines+markers", color=FRONT),
            _trace(front, paper, "FlexDiT paper's schedule", mode="markers", color=PAPER, symbol="star", size=15),
        ]
    )
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


def _trace(
    front: Front,
    records: Sequence[TrialRecord],
    name: str,
    *,
    mode: str,
    color: str,
    symbol: str = "circle",
    size: int = 9,
    dash: str = "solid",
) -> go.Scatter:
    latency = front.objectives[-1]
    points = [front.values(record) for record in records]
    return go.Scatter(
        x=[point[-1] for point in points],
        y=[point[0] for point in points],
        text=[_hover(front, record) for record in records],
        hovertemplate="%{text}<extra></extra>",
        name=name,
        mode=mode,
        line={"color": color, "width": 2, "dash": dash},
        marker={"color": color, "symbol": symbol, "size": size},
        error_x=_bars([record.measurements[latency.name].spread or 0.0 for record in records], color),
        error_y=None if front.noise is None else _bars([front.noise.paired] * len(records), color),
    )


def _hover(front: Front, record: TrialRecord) -> str:
    """What is read under the pointer."""
    quality, latency = front.values(record)
    compared = compare(front, record)
    lines = [f"<b>trial {record.number}</b>" + (f", {record.baseline}" if record.baseline else "")]
    lines.append(f"{record.candidate.schedule}, {record.candidate.sampling.steps} steps")
    lines.append(f"{front.objectives[0].name} {quality:.4g}, {latency:.4g} {front.objectives[-1].unit}")
    if not record.candidate.schedule.is_dense:
        if compared.speedup is not None:
            lines.append(f"{compared.speedup:.2f}x as fast as dense at the same steps")
        if compared.gain is not None:
            lines.append(f"{compared.gain:+.3g} over dense at fewer steps and equal latency")
    return "<br>".join(lines)


def _bars(half_widths: list[float], color: str) -> dict[str, Any]:
    return {"type": "data", "array": half_widths, "thickness": 1, "width": 3, "color": color}


def _confirmed(front: Front, confirmation: Confirmation) -> go.Scatter:
    """The points that were measured again, with 95 % intervals."""
    points = [confirmation.points[record.number] for record in front.confirmed]
    return go.Scatter(
        x=[point.latency.value for point in points],
        y=[point.quality.value for point in points],
        text=[
            f"<b>trial {record.number}</b>, measured again: {point.verdict}<br>"
            f"{record.baseline or record.candidate}<br>"
            f"{point.quality.value:.4g} ± {point.quality.half_width:.2g} at {point.latency.value:.4g} ± "
            f"{point.latency.half_width:.2g}<br>on the front: {point.front_probability:.0%}"
            for record, point in zip(front.confirmed, points, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
        name=f"measured again: {confirmation.shown_size} images, 95 %",
        mode="markers",
        marker={"color": CONFIRMED, "symbol": "diamond", "size": 9},
        error_x=_bars([point.latency.half_width for point in points], CONFIRMED),
        error_y=_bars([point.quality.half_width for point in points], CONFIRMED),
    )
