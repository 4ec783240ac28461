"""List the series that every picture of a front shows, so that a file and a page look alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from flexsearch.report.front import Front
from flexsearch.report.palette import DENSE, FOUND_FREE, FREE, FRONT, OTHER, PAPER
from flexsearch.report.points import FrontPoint, is_free
from flexsearch.report.speedup import Z
from flexsearch.study.evenly import evenly

MOST_OTHERS = 1000


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points that look alike, fastest first.

    Attributes:
        name: in the legend.
        points: with the values that are known best.
        color: of marks, lines and bars.
        line: "solid", "dashed" or "none".
        is_hollow: its marks are: nothing is claimed of them.
    """

    name: str
    points: Sequence[FrontPoint]
    color: str
    line: str = "none"
    is_hollow: bool = False


def series_of(front: Front) -> tuple[Series, ...]:
    """List the series, in the order in which they are drawn.

    They are what a confirmation left out, what is on no front, the dense base over the steps of its own solver, the
    front of the free baselines, the paper's schedules, and the searched points of the front: those that are free and
    those that were trained. Of each of the first two at most `MOST_OTHERS` are drawn, evenly over latency: more cover
    each other. What a confirmation left out is hollow, with the values of the search, which are of another protocol.
    """
    points = front.best_known
    paper = [points.by_number[record.number] for record in front.paper if record.number in points.by_number]
    paper.sort(key=lambda one: one.objectives[::-1])
    shown = {one.record.number for one in (*points.dense, *points.free_front, *points.searched, *paper)}
    left_out = [one for one in front.as_searched.points if one.record.number not in points.by_number]
    images = front.objectives[0].protocol.get("images")
    others = [one for one in points.points if one.record.number not in shown]
    return (
        _thinned(f"not measured again ({images} images)", left_out, is_hollow=True),
        _thinned("other trials", others),
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


def _thinned(name: str, points: Sequence[FrontPoint], *, is_hollow: bool = False) -> Series:
    """Take at most `MOST_OTHERS` points, and say so."""
    drawn = evenly(list(points), MOST_OTHERS)
    name += "" if len(drawn) == len(points) else f" ({len(drawn)} of {len(points)})"
    return Series(name=name, points=drawn, color=OTHER, is_hollow=is_hollow)


def bars(series: Series) -> tuple[list[float], list[float]]:
    """Give half the length of every point's bars, in latency and distance: 95 % of its noise without what all points
    share; 0 where that was not measured."""
    return (
        [Z * (one.latency_sd or 0.0) * one.latency_ms for one in series.points],
        [Z * (one.distance_sd or 0.0) for one in series.points],
    )


def images_of(front: Front) -> str:
    """Say of how many images the distances of the points are, for an axis."""
    if front.is_at_infinity:
        return "of infinitely many images"
    return (
        f"{front.objectives[0].protocol.get('images')} images"
        if front.confirmation is None
        else f"{front.confirmation.images} images"
    )
