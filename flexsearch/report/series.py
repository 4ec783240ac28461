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

    They are what is on no front, the dense base over the steps of its own solver, the front of the free baselines, the
    paper's schedules, and the searched points of the front: those that are free and those that were trained. Of what is
    on no front at most `MOST_OTHERS` are drawn, evenly over latency: more cover each other.

    Once a front is measured again, all have their new values. Trials without one are hollow where both values are of
    equally many images, else they are left out: more images would make them look worse than they are.
    """
    known = front.best_known
    paper = [one for one in known.points if one.record.baseline and not is_free(one.record)]
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
        Series(key="paper", name="FlexDiT paper's schedule", points=paper, color=PAPER),
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
    found = front.confirmation
    if found is None or found.images != front.objectives[0].protocol.get("images"):
        return []
    return [one for one in front.as_searched.points if one.record.number not in found.points]


def _of_many(name: str, drawn: Sequence[FrontPoint], all_: Sequence[FrontPoint]) -> str:
    return name if len(drawn) == len(all_) else f"{name} ({len(drawn)} of {len(all_)})"


def bars(front: Front, point: FrontPoint) -> tuple[float, float | None]:
    """Give half the length of a point's bars, of latency and quality.

    They are its 95 % intervals where it was measured again, else the latency's spread and one paired standard deviation
    of the quality, None if that is unknown.
    """
    again = None if front.confirmation is None else front.confirmation.points.get(point.record.number)
    if again is not None:
        return again.latency.half_width, again.quality.half_width
    spread = point.record.measurements[front.objectives[-1].name].spread or 0.0
    return spread, None if front.noise is None else front.noise.paired


def bars_say(front: Front) -> str:
    """Say what the bars are."""
    if front.confirmation is not None:
        return "95 % intervals"
    quality = "one paired standard deviation of the distance, and " if front.noise is not None else ""
    return f"{quality}the spread of the latency"
