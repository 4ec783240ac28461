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
        key: names it in a style sheet.
        name: in the legend.
        points: with the values that are known best.
        color: of marks, lines and bars.
        line: whether its points are joined by steps: "solid", "dashed" or "none".
        is_hollow: whether its points are only what the search measured, beside others that were measured again.
    """

    key: str
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
    each other.

    Once a front is measured again, all have their new values. Trials without one are hollow where both values are of
    equally many images, else they are left out: another number of images would make them look worse or better.
    """
    known = front.best_known
    paper = [known.by_number[record.number] for record in front.paper if record.number in known.by_number]
    paper.sort(key=lambda one: one.objectives[::-1])
    shown = {one.record.number for one in (*known.dense, *known.free_front, *known.searched, *paper)}
    others = [one for one in known.points if one.record.number not in shown]
    drawn = evenly(others, MOST_OTHERS)
    only_searched = _only_searched(front)
    drawn_once = evenly(only_searched, MOST_OTHERS)
    return (
        Series(
            key="once",
            name=_of_many("not measured again", drawn_once, only_searched),
            points=drawn_once,
            color=OTHER,
            is_hollow=True,
        ),
        Series(key="other", name=_of_many("other trials", drawn, others), points=drawn, color=OTHER),
        Series(key="base", name="dense base, own solver, fewer steps", points=known.dense, color=DENSE, line="dashed"),
        Series(key="free", name="free baselines' front", points=known.free_front, color=FREE, line="solid"),
        Series(key="paper", name="published schedule", points=paper, color=PAPER),
        Series(
            key="found",
            name="searched, on the front: free",
            points=[one for one in known.searched if is_free(one.record)],
            color=FOUND_FREE,
        ),
        Series(
            key="front",
            name="searched, on the front: trained",
            points=[one for one in known.searched if not is_free(one.record)],
            color=FRONT,
        ),
    )


def _only_searched(front: Front) -> list[FrontPoint]:
    """List what was not measured again, where the confirmation has as many images as the search."""
    found, images = front.confirmation, front.objectives[0].protocol.get("images")
    if found is None or front.is_at_infinity or found.images != images:
        return []
    return [one for one in front.as_searched.points if one.record.number not in found.points]


def _of_many(name: str, drawn: Sequence[FrontPoint], all_: Sequence[FrontPoint]) -> str:
    return name if len(drawn) == len(all_) else f"{name} ({len(drawn)} of {len(all_)})"


def bars(point: FrontPoint) -> tuple[float, float]:
    """Give half the length of a point's bars, in latency and distance: 95 % of its noise without what all points share;
    0 where that was not measured."""
    return point.latency_half_width * point.latency_ms, point.distance_half_width


def images_of(front: Front) -> str:
    """Say of how many images the distances of the points are, for an axis."""
    if front.is_at_infinity:
        return "of infinitely many images"
    if front.confirmation is None:
        return f"{front.objectives[0].protocol.get('images')} images"
    return f"{front.confirmation.images} images, measured again"
