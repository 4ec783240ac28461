"""Reuse over sampler steps: which steps are computed in full, and what the others take from them.

A full step `F` computes all blocks. A partial step `p` computes a few at the bottom and at the top; in between it adds
the residual that the last full steps left, or takes the outputs of their modules. A null step `n` calls no model: it
takes the output of the last full steps. All of it is known before the first step and depends on no input.

FORA (arXiv 2407.01425), DeepCache (2312.00858), Flexiffusion (2409.17566) and TaylorSeer (2503.06923) are points of
this axis. Where we depart: extrapolation is linear in diffusion time, not in the number of the step.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from flexsearch.errors import UserError
from flexsearch.schedule.fields import check_fields
from flexsearch.schedule.role import ROLES, HashedOnce, Route
from flexsearch.schedule.step import Graph, Reused, Step
from flexsearch.settings import Count, PositiveCount

Share = Annotated[float, Ge(0), Le(1)]
PositiveShare = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Reuse what earlier steps computed.

    Attributes:
        full: share of full steps; 1 reuses nothing.
        warmup: the first steps, which are full.
        ends: whether the last step is full: 0 or 1.
        skew: how much later gaps between full steps are longer than earlier ones: gap j, from 1, has weight j^skew.
        nulls: share of each gap, its last steps, that are null steps.
        first: blocks at the bottom that a partial step computes.
        last: blocks at the top that a partial step computes.
        order: of the extrapolation in diffusion time; 0 takes what was computed last.
        reuse: what partial steps reuse: the residual of the span of blocks in between, or its modules' outputs.
        mask: where full steps lie: "spaced" by the fields above, or "planned", as many as that is, where a calibration
            run says that reuse costs least. A search space plans them; what is tried has the `pattern`.
        pattern: the steps themselves, such as FFpFnn; None makes them from the fields above.
    """

    full: PositiveShare = 1.0
    warmup: PositiveCount = 1
    ends: Literal[0, 1] = 0
    skew: Annotated[float, Ge(0)] = 0.0
    nulls: Share = 0.0
    first: Count = 1
    last: Count = 0
    order: Literal[0, 1] = 1
    reuse: Literal["span", "modules"] = "span"
    mask: Literal["spaced", "planned"] = "spaced"
    pattern: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.pattern is not None and not re.fullmatch("F[Fpn]*", self.pattern):
            raise UserError(
                f"must be letters F, p and n that begin with F, but got {self.pattern!r}",
                field="pattern",
                nearest="FFpFpp",
            )

    def of(self, num: int) -> str:
        """Give the pattern of `num` steps, a letter each.

        Raises:
            UserError: the pattern that is given has another length.
        """
        if self.pattern is not None:
            if len(self.pattern) != num:
                raise UserError(f"must have {num} letters, but got {self.pattern!r}", field="cache.pattern")
            return self.pattern
        return _pattern(num, self.full, self.warmup, self.ends, self.skew, self.nulls)

    def planned(self, num: int, masks: Mapping[int, str] | None) -> "Cache":
        """Give the cache with the pattern of `num` steps whose full steps are planned.

        Args:
            num: steps of the solver.
            masks: planned, by number of full steps; None, before calibration, leaves them where they are: that costs
                as much.
        """
        pattern = self.of(num)
        if masks is not None:
            gaps = masks[pattern.count("F")].split("F")[1:]
            pattern = "".join("F" + _gap(len(gap), self.nulls) for gap in gaps)
        return Cache(pattern=pattern, first=self.first, last=self.last, order=self.order, reuse=self.reuse)

    def spelled(self, num: int, *, num_blocks: int) -> dict[str, Any]:
        """Say what is reused in `num` steps of a model: caches that do the same are spelled alike; {} is none."""
        pattern = self.of(num)
        if self.first + self.last >= num_blocks:
            pattern = pattern.replace("p", "F")
        if set(pattern) == {"F"}:
            return {}
        spelled: dict[str, Any] = {"pattern": pattern, "order": self.order}
        if "p" in pattern:
            spelled |= {"first": self.first, "last": self.last, "reuse": self.reuse}
        return spelled

    def span(self, route: Route) -> tuple[int, int] | None:
        """Give the blocks, from the first to before the second, that partial steps reuse; None where there are none."""
        return _closed_span(route, self.first, len(route) - self.last)

    def applied(self, steps: Sequence[Step]) -> list[Step]:
        """Say of every step what it computes, reuses and leaves."""
        pattern = self.of(len(steps))
        span = self.span(steps[0].route)
        kind: Reused = "residual" if self.reuse == "span" else "modules"
        if span is None:  # nothing is left to be reused
            pattern = pattern.replace("p", "F")
        found, read, full = list(steps), set[int](), list[int]()
        for index, (step, letter) in enumerate(zip(steps, pattern, strict=True)):
            source = [one for one in full if _fits(steps[one], step, kind if letter == "p" else "output")]
            if letter == "F" or not source or source[-1] != full[-1]:
                full.append(index)
                continue
            before = _before(source, full, steps) if self.order else None
            theta = 0.0 if before is None else _theta(step.time, steps[full[-1]].time, steps[before].time)
            order = 0 if before is None else 1
            if letter == "n":
                graph = _null(step.graph.stage, order)
            else:
                graph = _partial(step.graph, span, kind, order)
                read.update(one for one in (full[-1], before) if one is not None)
            found[index] = step._replace(graph=graph, theta=theta)
        for index in read:
            found[index] = found[index]._replace(graph=_leaving(found[index].graph, span, kind))
        return found


NO_CACHE = Cache()


@lru_cache(maxsize=1 << 12)
def _pattern(num: int, full: float, warmup: int, ends: int, skew: float, null: float) -> str:
    """Spread the steps that are not full over the gaps after full ones, by largest remainder, ties to the earlier."""
    num_full = min(num, max(round(full * num), warmup + ends))
    cached, gaps = num - num_full, num_full - warmup - ends + 1
    if not cached:
        return "F" * num
    weights = [(gap + 1) ** skew for gap in range(gaps)]
    exact = [cached * weight / sum(weights) for weight in weights]
    lengths = [math.floor(one) for one in exact]
    by_remainder = sorted(range(gaps), key=lambda gap: (round(lengths[gap] - exact[gap], 9), gap))
    for gap in by_remainder[: cached - sum(lengths)]:
        lengths[gap] += 1
    return "F" * (warmup - 1) + "".join("F" + _gap(length, null) for length in lengths) + "F" * ends


def _gap(length: int, null: float) -> str:
    """The steps between two full ones."""
    nulls = round(null * length)
    return "p" * (length - nulls) + "n" * nulls


def _before(source: Sequence[int], full: Sequence[int], steps: Sequence[Step]) -> int | None:
    """The full step before the last, if it can serve too: at another time, and guided alike."""
    if len(source) < 2 or source[-2] != full[-2]:
        return None
    last, before = steps[full[-1]], steps[full[-2]]
    return None if last.time == before.time or last.is_guided != before.is_guided else full[-2]


def _theta(time: float, last: float, before: float) -> float:
    """Tell how far the line through what two calls computed is followed beyond the last, in their distance."""
    return (time - last) / (last - before)


def _fits(full: Step, step: Step, reused: Reused) -> bool:
    """Tell whether what a full step computed can serve a later one: rows, and for modules the tokens of every block."""
    if reused == "modules" and full.route != step.route:
        return False
    return reused == "output" or full.graph.rows >= step.graph.rows


@lru_cache(maxsize=1 << 12)
def _closed_span(route: Route, first: int, last: int) -> tuple[int, int] | None:
    """The blocks between, never from or to where dense tokens wait for sparse ones; None where there are none."""
    closed = [0, *(operation.block + 1 for operation in route if ROLES[operation.role].leaves_dense)]
    low = max(one for one in closed if one <= first)
    high = max((one for one in closed if one <= last), default=0)
    return (low, high) if low < high else None


@lru_cache(maxsize=1 << 12)
def _null(stage: int, order: int) -> Graph:
    return Graph(stage=stage, route=HashedOnce(()), reuses="output", order=order)


@lru_cache(maxsize=1 << 14)
def _partial(graph: Graph, span: tuple[int, int], kind: Reused, order: int) -> Graph:
    route = graph.route
    if kind == "residual":
        low, high = span
        route = HashedOnce(operation for operation in route if not low <= operation.block < high)
    return replace(graph, route=route, span=span, reuses=kind, order=order)


@lru_cache(maxsize=1 << 14)
def _leaving(graph: Graph, span: tuple[int, int], kind: Reused) -> Graph:
    return replace(graph, span=span, leaves=kind)
