"""Factors on tokens that cost nothing and need no training (Skip-Tuning, arXiv 2402.15170, for a U-Net's skips)."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Le

from flexsearch.schedule.fields import check_fields
from flexsearch.settings import Count

Factor = Annotated[float, Gt(0), Le(2)]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Scale the stream of tokens before one block, and the dense tokens that return to it.

    Attributes:
        stream: factor on all tokens before block `at`.
        at: block, from 0 at the bottom; without meaning where `stream` is 1.
        skip: factor on the dense tokens that waited, where sparse tokens are merged into them.
    """

    stream: Factor = 1.0
    at: Count = 0
    skip: Factor = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.stream == 1:
            object.__setattr__(self, "at", 0)  # equal things share a digest

    def without(self, part: "Gain") -> "Gain":
        """Give what remains of it beside a part: of what weights carry and what is left to do, one from the other."""
        return Gain(stream=self.stream / part.stream, at=self.at, skip=self.skip / part.skip)


NO_GAIN = Gain()
