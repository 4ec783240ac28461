"""Attribution: which axis owns which part of a front, and the hypervolume that is lost without it.

It is an observation of the trials that were made: the front of those that do not use the axis, beside the whole one. It
is no ablation: a search without the axis would have spent its trials elsewhere, so that it would have lost less.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from flexsearch.report.points import FrontPoint, Points
from flexsearch.report.row import three_digits
from flexsearch.study.pareto import hypervolume

_MOST_PARTS = 3
_WIDE, _HIGH = 1000, 20  # of a strip, in its own units


@dataclass(frozen=True, kw_only=True)
class Part:
    """Where a point is the best of the front.

    Attributes:
        trial: its number.
        start, end: ms per image; up to the next point, and of the best one up to the reference point.
    """

    trial: int
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What one axis does, or several that the same trials use.

    Attributes:
        axes: names, as in YAML; these trials do not tell them apart.
        owned: the points of the front that use it, fastest first.
        whole: all points of the front.
        num_without: trials that do not use it.
        lost: share of the hypervolume that the front of these lacks.
    """

    axes: tuple[str, ...]
    owned: tuple[Part, ...]
    whole: tuple[Part, ...]
    num_without: int
    lost: float

    @property
    def ranges(self) -> list[tuple[float, float | None]]:
        """Latencies in ms at which a point that uses it is the best; None is without end."""
        found: list[tuple[float, float | None]] = []
        for part in self.owned:
            end = None if part == self.whole[-1] else part.end
            if found and found[-1][1] == part.start:
                found[-1] = (found[-1][0], end)
            else:
                found.append((part.start, end))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values."""
        return {
            "axes": list(self.axes),
            "front": [part.trial for part in self.owned],
            "owns_ms": [list(one) for one in self.ranges],
            "trials_without": self.num_without,
            "hypervolume_lost": self.lost,
        }

    @property
    def printed(self) -> Mapping[str, str]:
        """Every value as text."""
        said = [_said(start, end) for start, end in self.ranges]
        if len(said) > _MOST_PARTS:
            said = [f"{_said(self.ranges[0][0], self.ranges[-1][1])}, in {len(said)} parts"]
        return {
            "axes": ", ".join(self.axes),
            "front": f"{len(self.owned)} of {len(self.whole)}",
            "owns": "; ".join(said),
            "lost": f"{self.lost:.1%}",
            "without": str(self.num_without),
        }

    @property
    def strip(self) -> Markup:
        """Draw where it owns the front, over the logarithm of latency, from the fastest point to the reference."""
        low, high = self.whole[0].start, self.whole[-1].end
        span = math.log(high / low) or 1.0

        def at(latency: float) -> float:
            return round(_WIDE * math.log(latency / low) / span, 1)

        drawn = "".join(
            f'<rect data-trial="{one.trial}" x="{at(one.start)}" width="{round(at(one.end) - at(one.start), 1)}" '
            f'height="{_HIGH}"/>'
            for one in self.owned
        )
        box = f'viewBox="0 0 {_WIDE} {_HIGH}" preserveAspectRatio="none"'
        return Markup(f'<svg class="strip" {box} aria-hidden="true">{drawn}</svg>')


def attributions_of(
    points: Points, *, used: Mapping[int, Sequence[str]], reference: Sequence[float]
) -> list[Attribution]:
    """Attribute a front to every axis that some trials use and others do not, the largest loss first.

    Args:
        points: every trial, as searched.
        used: axes of each, by number.
        reference: quality and latency up to which the hypervolume is taken.
    """
    if not points.points:
        return []
    whole = tuple(_parts(points.best, reference[-1]))
    table, upto = np.array([one.objectives for one in points.points]), np.array(reference)
    total = hypervolume(table, reference=upto)
    names = dict.fromkeys(name for own in used.values() for name in own)
    users = {name: frozenset(number for number, own in used.items() if name in own) for name in names}
    found = []
    for numbers in dict.fromkeys(users.values()):
        others = table[[one.record.number not in numbers for one in points.points]]
        if len(others):
            found.append(
                Attribution(
                    axes=tuple(name for name, own in users.items() if own == numbers),
                    owned=tuple(part for part in whole if part.trial in numbers),
                    whole=whole,
                    num_without=len(others),
                    lost=max(0.0, 1 - hypervolume(others, reference=upto) / total) if total else 0.0,
                )
            )
    return sorted(found, key=lambda one: -one.lost)


def _parts(best: Sequence[FrontPoint], end: float) -> Iterator[Part]:
    for one, after in pairwise((*best, None)):
        assert one is not None, "the end alone is none"
        until = max(end, one.latency_ms) if after is None else after.latency_ms
        yield Part(trial=one.record.number, start=one.latency_ms, end=until)


def _said(start: float, end: float | None) -> str:
    return f"from {three_digits(start)}" if end is None else f"{three_digits(start)} to {three_digits(end)}"
