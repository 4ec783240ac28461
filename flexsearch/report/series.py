"""List the series that every picture of a front shows, so that a file and a page look alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from flexsearch.report.front import Front
from flexsearch.report.palette import DENSE, FRONT, OTHER, PAPER
from flexsearch.report.points import FrontPoint


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that look alike, fastest first.

    Attributes:
        name: in the legend.
        points: as searched.
        color: of marks, lines and bars.
        line: "solid", "dashed" or "none".
    """

    name: str
    points: Sequence[FrontPoint]
    color: str
    line: str = "none"


def series_of(front: Front) -> tuple[Series, Series, Series, Series]:
    """List the other trials, the dense base over its samplings, the searched front and the paper's schedules."""
    points = front.as_searched
    others = [one for one in points.points if one.record in front.others]
    paper = [one for one in points.points if one.record in front.paper]
    return (
        Series(name="other trials", points=others, color=OTHER),
        Series(name="dense base at fewer steps", points=points.dense, color=DENSE, line="dashed"),
        Series(name="searched schedules on the front", points=points.searched, color=FRONT, line="solid"),
        Series(name="FlexDiT paper's schedule", points=paper, color=PAPER),
    )


def bars(front: Front, series: Series) -> tuple[list[float], list[float] | None]:
    """Give half the length of every point's bars: the latency's spread, and one paired sd of the quality if known."""
    latency = front.objectives[-1].name
    spreads = [one.record.measurements[latency].spread or 0.0 for one in series.points]
    return spreads, None if front.noise is None else [front.noise.paired] * len(spreads)
