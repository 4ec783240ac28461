"""Draw the front as SVG for the page: quality (logarithmic) against latency, what is free as its own front.

It is drawn twice, for wide and for narrow screens, from the same series. A mark carries its trial's number, by which
the page's script finds what belongs to it. Colours are the page's, by the names of the series.
"""

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from flexsearch.report.claim import Claim
from flexsearch.report.front import Front
from flexsearch.report.points import FrontPoint
from flexsearch.report.series import Series, bars

_FONT = 13.0
_LINE = 16.0  # from one line of text to the next
_LETTER = 0.58  # of the font's size, about the width of a letter
_MARK = 5.0  # half the side of what a mark covers
_PLAIN = ("once", "other")  # marks without a bar, a name or a place in the order of keys
SHAPES = {
    "base": "M-4.5-4.5H4.5V4.5H-4.5Z",
    "free": "M0-6L5.5 4H-5.5Z",
    "paper": "M0-8L2 -2.6 7.6 -2.5 3.2 1 4.7 6.5 0 3.3-4.7 6.5-3.2 1-7.6-2.5-2-2.6Z",
}


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in pixels, y down."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        is_beside = self.right <= other.left or other.right <= self.left
        return not (is_beside or self.bottom <= other.top or other.bottom <= self.top)

    def holds(self, other: "Box") -> bool:
        is_across = self.left <= other.left and other.right <= self.right
        return is_across and self.top <= other.top and other.bottom <= self.bottom


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Values along one side.

    Attributes:
        low, high: the values at its ends.
        start, end: the pixels of these.
        is_log: whether equal ratios have equal lengths.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool

    def at(self, value: float) -> float:
        """Give the pixel of a value; what lies outside is put at the end."""
        value = min(max(value, self.low), self.high)
        along: Callable[[float], float] = math.log if self.is_log else float
        share = (along(value) - along(self.low)) / (along(self.high) - along(self.low))
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self, most: int) -> list[float]:
        """List at most `most` round values."""
        decades = range(math.floor(math.log10(self.high)) - 9, math.ceil(math.log10(self.high)) + 1)
        if self.is_log:
            choices = [[lead * 10.0**power for power in decades for lead in leads] for leads in _LEADS]
        else:
            steps = [lead * 10.0**power for power in decades for lead in (1, 2, 5)]
            choices = [
                [step * num for num in range(math.floor(self.high / step) + 1)]
                for step in steps
                if self.high / step <= most + 1
            ]
        within = ([one for one in choice if self.low <= one <= self.high] for choice in choices)
        return next((found for found in within if len(found) <= most), [self.high])


_LEADS = ((1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What is drawn.

    Attributes:
        series: in the order in which they are drawn.
        front: whose points they are.
        claim: drawn as an arrow; None draws none.
        held_out: the distance of real images, drawn as a line; None where it is unknown.
        across, upright: titles of the axes.
        told: what a screen reader says of a point.
    """

    series: Sequence[Series]
    front: Front
    claim: Claim | None
    held_out: float | None
    across: str
    upright: str
    told: Callable[[FrontPoint], str]

    def svg(self, *, width: int, height: int, name: str) -> Markup:
        """Draw it.

        Args:
            width: in pixels.
            height: in pixels.
            name: class of the element.
        """
        above, below = (
            _wrapped(text, width - 60) for text in (f"{self.upright} \N{DOWNWARDS ARROW} better", self.across)
        )
        room = Box(left=52, top=10 + _LINE * len(above), right=width - 12, bottom=height - 32 - _LINE * len(below))
        x, y = self._axes(room)
        parts = [
            *self._grid(x, y, room, most=max(4, width // 110)),
            *(_text(8, 14 + _LINE * place, line, "title") for place, line in enumerate(above)),
            *(
                _text((room.left + room.right) / 2, room.bottom + 40 + _LINE * place, line, "title middle")
                for place, line in enumerate(below)
            ),
            self._gap(x, y, room),
            *self._held_out(y, room),
            *(self._steps(one.key, one.points, x, y, room) for one in self.series if one.line != "none"),
            self._steps("best", self.front.best_known.best, x, y, room),
            *self._marks(x, y),
            *self._names(x, y, room),
        ]
        label = f"{self.upright} against {self.across}"
        return Markup(
            f'<svg class="{name}" viewBox="0 0 {width} {height}" role="group" aria-label="{escape(label)}">'
            f"{''.join(parts)}</svg>"
        )

    def _axes(self, room: Box) -> tuple[Axis, Axis]:
        points = [one for series in self.series for one in series.points]
        values = [one.distance for one in points] + ([] if self.held_out is None else [self.held_out])
        low, high = min(values), max(values)
        is_log = low > 0
        low, high = (low / 1.12, high * 1.12) if is_log else (low - 0.06 * (high - low), high + 0.06 * (high - low))
        latest = [one.latency_ms for one in points]
        if self.claim is not None:
            latest.append(self.claim.speedup.free_ms)
        across = Axis(low=0.0, high=1.05 * max(latest), start=room.left, end=room.right, is_log=False)
        return across, Axis(low=low, high=max(high, low + 1e-9), start=room.bottom, end=room.top, is_log=is_log)

    def _grid(self, x: Axis, y: Axis, room: Box, *, most: int) -> Iterator[str]:
        for value in x.ticks(most):
            at = x.at(value)
            yield f'<path class="grid" d="M{at} {room.top}V{room.bottom}"/>'
            yield _text(at, room.bottom + 18, f"{value:.4g}", "tick middle")
        for value in y.ticks(8):
            at = y.at(value)
            yield f'<path class="grid" d="M{room.left} {at}H{room.right}"/>'
            yield _text(room.left - 8, at + 4.5, f"{value:.4g}", "tick end")

    def _stairs(self, points: Sequence[FrontPoint], x: Axis, y: Axis) -> str:
        first, *others = points
        begin = f"{x.at(first.latency_ms)} {y.at(first.distance)}"
        return begin + "".join(f"H{x.at(one.latency_ms)}V{y.at(one.distance)}" for one in others)

    def _steps(self, name: str, points: Sequence[FrontPoint], x: Axis, y: Axis, room: Box) -> str:
        """Join points by steps: at a latency, what can be had is the last point before it."""
        return f'<path class="line {name}" d="M{self._stairs(points, x, y)}H{room.right}"/>' if points else ""

    def _gap(self, x: Axis, y: Axis, room: Box) -> str:
        """Shade what the front reaches and the free baselines do not."""
        known = self.front.best_known
        if not known.free_front or not known.searched:
            return ""
        best, free = known.best, known.free_front
        below = f"M{x.at(best[0].latency_ms)} {room.top}L{self._stairs(best, x, y)}H{room.right}"
        above = [(x.at(one.latency_ms), y.at(one.distance)) for one in reversed(free)]
        back = "".join(f"V{at}H{left}" for left, at in above)
        return f'<path class="gap" d="{below}{back}V{room.top}Z"/>'

    def _held_out(self, y: Axis, room: Box) -> Iterator[str]:
        if self.held_out is not None:
            at = y.at(self.held_out)
            yield f'<path class="line real" d="M{room.left} {at}H{room.right}"/>'
            yield _text(room.right - 4, at - 5, f"real images {self.held_out:.3g}", "name real end")

    def _marks(self, x: Axis, y: Axis) -> Iterator[str]:
        """Draw every trial once: the dense base's own runs as such, also where they are on the free front."""
        drawn: set[int] = set()
        for series in self.series:
            for one in series.points:
                at = x.at(one.latency_ms), y.at(one.distance)
                number = one.record.number
                if number in drawn:
                    continue
                drawn.add(number)
                if series.key in _PLAIN:
                    yield f'<circle class="mark {series.key}" data-trial="{number}" cx="{at[0]}" cy="{at[1]}" r="3.5"/>'
                else:
                    yield self._mark(series.key, one, at, x, y)

    def _mark(self, key: str, one: FrontPoint, at: tuple[float, float], x: Axis, y: Axis) -> str:
        wide, high = bars(one)
        lines = f"M{x.at(one.latency_ms - wide)} {at[1]}H{x.at(one.latency_ms + wide)}" if wide else ""
        if high:
            lines += f"M{at[0]} {y.at(one.distance - high)}V{y.at(one.distance + high)}"
        shape = f'<path d="{SHAPES[key]}"/>' if key in SHAPES else '<circle r="5"/>'
        bar = f'<path class="bar {key}" d="{lines}"/>' if lines else ""
        return (
            f'{bar}<g class="mark {key}" data-trial="{one.record.number}" transform="translate({at[0]} {at[1]})" '
            f'role="button" tabindex="-1" aria-label="{escape(self.told(one))}">{shape}</g>'
        )

    def _names(self, x: Axis, y: Axis, room: Box) -> Iterator[str]:
        """Draw the claim, then names where there is room: searched points first, a free baseline last."""
        shown = [series for series in reversed(self.series) if series.key not in _PLAIN]
        shown.sort(key=lambda series: series.key == "free")
        taken = [
            _around(x.at(one.latency_ms), y.at(one.distance), _MARK, _MARK) for series in shown for one in series.points
        ]
        if self.claim is not None:
            yield from self._arrow(self.claim, x, y, room, taken)
        named: set[int] = set()
        for series in shown:
            for one in series.points:
                if one.record.number in named:
                    continue
                named.add(one.record.number)
                steps = f"{one.record.candidate.sampling.steps} steps"
                text = steps if series.key == "base" else str(one.record.number)
                place = _place(text, x.at(one.latency_ms), y.at(one.distance), room, taken)
                if place is not None:
                    yield _text(place.left, place.bottom - 4, text, f"name {series.key}")

    def _arrow(self, claim: Claim, x: Axis, y: Axis, room: Box, taken: list[Box]) -> Iterator[str]:
        """Draw an arrow from where what is free is as good, to the point."""
        at, tail = y.at(claim.point.distance), x.at(claim.speedup.free_ms)
        head = x.at(claim.point.latency_ms) + 8
        yield f'<path class="claim" d="M{tail} {at}H{head}M{head + 9} {at - 5}L{head} {at}L{head + 9} {at + 5}"/>'
        text = f"{claim.speedup.symbol} at equal quality"
        half = _LETTER * 1.15 * _FONT * len(text) / 2
        middle = min(max((head + tail) / 2, head + 8 + half), room.right - half)
        yield _text(middle, at - 9, text, "name claim middle")
        taken += [_around(middle, at - 14, half, 9), _around((head + tail) / 2, at, (tail - head) / 2, 6)]


def _wrapped(text: str, width: float) -> list[str]:
    """Part a text into lines that are no wider."""
    return textwrap.wrap(text, max(10, int(width / (_LETTER * _FONT))), break_long_words=False)


def _around(x: float, y: float, half_width: float, half_height: float) -> Box:
    return Box(left=x - half_width, top=y - half_height, right=x + half_width, bottom=y + half_height)


def _place(text: str, x: float, y: float, room: Box, taken: list[Box]) -> Box | None:
    """Find room for a name beside its point, and take it."""
    wide, high = _LETTER * _FONT * len(text), _FONT + 2
    for is_right, is_below in ((False, True), (True, False), (True, True), (False, False)):
        left = x + _MARK if is_right else x - _MARK - wide
        top = y + 1 if is_below else y - 1 - high
        box = Box(left=left, top=top, right=left + wide, bottom=top + high)
        if room.holds(box) and not any(box.overlaps(other) for other in taken):
            taken.append(box)
            return box
    return None


def _text(x: float, y: float, text: str, name: str) -> str:
    return f'<text class="{name}" x="{round(x, 1)}" y="{round(y, 1)}">{escape(text)}</text>'
