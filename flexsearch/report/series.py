"""List the series that every picture of a front shows, so that a file and a page look alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from flexsearch.report.front import Front
from flexsearch.report.palette import DENSE, FOUND_FREE, FREE, FRONT, OTHER, PAPER
from flexsearch.report.points import FrontPoint, is_free
from flexsearch.study.evenly import evenly

MOST_OTHERS = 1000


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


def series_of(front: Front) -> tuple[Series, ...]:
    """List the series, in the order in which they are drawn.

    They are what is on no front, the dense base over the steps of its own solver, the front of the free baselines, the
    paper's schedules, and the searched points of the front: those that are free and those that were trained. Of what is
    on no front at most `MOST_OTHERS` are drawn, evenly over latency: more cover each other.
    """
    points = front.as_searched
    paper = [points.by_number[record.number] for record in front.paper]
    paper.sort(key=lambda one: one.objectives[::-1])
    shown = {one.record.number for one in (*points.dense, *points.free_front, *points.searched, *paper)}
    others = [one for one in points.points if one.record.number not in shown]
    drawn = evenly(others, MOST_OTHERS)
    name = "other trials" if drawn == others else f"other trials ({len(drawn)} of {len(others)})"
    return (
        Series(name=name, points=drawn, color=OTHER),
        Series(name="dense base, own solver, fewer steps", points=points.dense, color=DENSE, line="dashed"),
        Series(name="free baselines' front", points=points.free_front, color=FREE, line="solid"),
        Series(name="FlexDiT paper's schedule", points=paper, color=PAPER),
        Series(
            name="searched, on the front: free",
            points=[one for one in points.searched if is_free(one.record)],
            color=FOUND_FREE,
        ),
        Series(
            name="searched, on the front: trained",
            points=[one for one in points.searched if not is_free(one.record)],
            color=FRONT,
        ),
    )


def bars(front: Front, series: Series) -> tuple[list[float], list[float] | None]:
    """Give half the length of every point's bars: the latency's spread, and one paired sd of the quality if known."""
    latency = front.objectives[-1].name
    spreads = [one.record.measurements[latency].spread or 0.0 for one in series.points]
    return spreads, None if front.noise is None else [front.noise.paired] * len(spreads)
