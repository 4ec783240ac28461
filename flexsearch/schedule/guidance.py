"""Guidance rows: at which steps the row without a condition is computed.

Source of the interval: Kynkaanniemi et al. 2024 (arXiv 2404.07724). Elsewhere the difference of the two rows that was
computed last moves the row with a condition: `guided = given + (scale - 1) * difference`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Annotated

from annotated_types import Ge, Le

from flexsearch.errors import UserError
from flexsearch.schedule.fields import check_fields
from flexsearch.schedule.step import Graph, Step
from flexsearch.settings import PositiveCount

Fraction = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class GuidanceRows:
    """Guide at some steps only.

    Attributes:
        start: least diffusion time at which samples are guided.
        end: largest diffusion time at which they are.
        every: of the full steps in between, each n-th computes both rows, the first among them.
    """

    start: Fraction = field(default=0.0, metadata={"key": "from"})
    end: Fraction = field(default=1.0, metadata={"key": "to"})
    every: PositiveCount = 1

    def __post_init__(self) -> None:
        check_fields(self)
        if self.start > self.end:
            raise UserError(f"from <= to must hold, but got [{self.start}, {self.end}]", field="from", nearest=self.end)

    def applied(self, steps: Sequence[Step], pattern: str) -> list[Step]:
        """Take the rows away that are not computed.

        Args:
            steps: with two rows each.
            pattern: of the steps, `Step.letter`: a step that reuses is guided as the full step before it.
        """
        found: list[Step] = []
        num, rows, is_guided = 0, 1, False
        for step, letter in zip(steps, pattern, strict=True):
            if letter == "F":
                is_guided = self.start <= step.time <= self.end
                rows = 2 if is_guided and num % self.every == 0 else 1
                num += is_guided
            graph = step.graph if rows == 2 else _with_one_row(step.graph)
            found.append(step._replace(graph=graph, is_guided=is_guided))
        return found


ALL_ROWS = GuidanceRows()


@lru_cache(maxsize=1 << 14)
def _with_one_row(graph: Graph) -> Graph:
    return replace(graph, rows=1)
