"""How density changes over diffusion time: few stages, each with one sparse grid.

Time is a fraction: 0 is data, 1 is noise; FlexDiT keeps most tokens near the data (arXiv 2412.06028, figure 2b).
"""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Any

from flexsearch.errors import UserError
from flexsearch.settings import ListedCount, PositiveCount

CLOCK_ERROR = 1e-6
"""Largest error of a diffusion time in [0, 1] that went through float32."""


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """Stages of diffusion time.

    Attributes:
        edges: rising, from 0 to 1; stage j covers `[edges[j], edges[j+1])`, the last one 1 as well.
        grids: per stage, the tokens along the shorter side of the sparse grid.
        frames: frames of the sparse grids of a video; None keeps all.
    """

    edges: tuple[float, ...] = (0.0, 1.0)
    grids: tuple[int, ...] = (1,)
    frames: int | None = None

    def __post_init__(self) -> None:
        try:
            edges, grids = tuple(float(edge) for edge in self.edges), tuple(self.grids)
        except ValueError:
            raise UserError(f"must rise from 0 to 1, but got {list(self.edges)}", field="edges") from None
        if len(edges) != len(grids) + 1:
            raise UserError(f"needs one edge more than grids, but got {len(edges)} and {len(grids)}", field="edges")
        if edges[0] != 0 or edges[-1] != 1 or not all(low < high for low, high in pairwise(edges)):
            raise UserError(f"must rise from 0 to 1, but got {list(edges)}", field="edges")
        if any(isinstance(grid, bool) or not isinstance(grid, int) or grid < 1 for grid in grids):
            raise UserError(f"must be whole numbers of at least 1, but got {list(grids)}", field="grids", nearest=1)
        if self.frames is not None and (isinstance(self.frames, bool) or self.frames < 1):
            raise UserError(f"must be at least 1, but got {self.frames}", field="frames", nearest=1)
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "grids", grids)

    def joined(self) -> "Timetable":
        """Join neighbours with equal grids, so that timetables that say the same compare equal."""
        kept = [stage for stage, grid in enumerate(self.grids) if stage == 0 or grid != self.grids[stage - 1]]
        return Timetable(
            edges=(*(self.edges[stage] for stage in kept), 1.0),
            grids=tuple(self.grids[stage] for stage in kept),
            frames=self.frames,
        )

    @property
    def num_stages(self) -> int:
        """Bands of diffusion time with a sparse grid of their own."""
        return len(self.grids)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; what is not set is left out."""
        values: dict[str, Any] = {"edges": list(self.edges), "grids": list(self.grids)}
        return values if self.frames is None else {**values, "frames": self.frames}

    def stage_of(self, time: float) -> int:
        """Give the stage that covers `time` in [0, 1].

        What is within `CLOCK_ERROR` below an edge belongs to the stage above: a clock in float32 rounds.
        """
        return min(bisect_right(self.edges, time + CLOCK_ERROR) - 1, self.num_stages - 1)


def equal_edges(num_stages: int) -> tuple[float, ...]:
    """Edges of `num_stages` stages of equal width."""
    return tuple(stage / num_stages for stage in range(num_stages + 1))


@dataclass(frozen=True, kw_only=True)
class LinearTimetable:
    """Equal stages whose pruning rate goes linearly from the clean grid's to the noise grid's, grids rounded down.

    With four stages and grids 10 to 6 this is the paper's r in [0.61, 0.86] on 256 tokens: 10, 8, 7, 6. One stage
    uses the clean grid.

    Attributes:
        stages: number of stages.
        clean_grid: tokens along the shorter side of the sparse grid near the data; None where no block works on sparse
            tokens, so that stages alone matter.
        noise_grid: the same near noise; None is the clean grid.
        frames: frames of the sparse grids of a video; None keeps all.
    """

    stages: ListedCount = 1
    clean_grid: PositiveCount | None = None
    noise_grid: PositiveCount | None = None
    frames: PositiveCount | None = None

    def build(self, *, frames: int = 1) -> Timetable:
        """Give the timetable of a model whose dense tokens have `frames` frames."""
        side = self.clean_grid or 1
        clean, noise = side**2, (self.noise_grid or side) ** 2
        tokens = [clean + (noise - clean) * stage / max(self.stages - 1, 1) for stage in range(self.stages)]
        return Timetable(
            edges=equal_edges(self.stages),
            grids=tuple(isqrt(round(count)) for count in tokens),
            frames=None if self.frames == frames else self.frames,
        )
