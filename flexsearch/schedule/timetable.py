"""Say how density changes over diffusion time: few stages, each with one sparse grid, or one for each module.

Time is a fraction: 0 is data, 1 is noise; FlexDiT keeps most tokens near the data (arXiv 2412.06028, figure 2b).
"""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Annotated, Any

from flexsearch.errors import UserError
from flexsearch.schedule.fields import Pattern, check_fields, check_value
from flexsearch.schedule.shape import Side, sides_of
from flexsearch.settings import ListedCount, PositiveCount

CLOCK_ERROR = 1e-6
"""Largest error of a diffusion time in [0, 1] that went through float32."""

SparseGrid = PositiveCount | Annotated[str, Pattern(regex="[1-9][0-9]*x[1-9][0-9]*", said='height x width, as "3x5"')]
"""A `Side`, as fields declare it."""


@dataclass(frozen=True, kw_only=True)
class Timetable:
    """Stages of diffusion time.

    Attributes:
        edges: rising, from 0 to 1; stage j covers `[edges[j], edges[j+1])`, the last one 1 as well.
        grids: per stage the sparse grid, as a `Side` names it.
        frames: frames of the sparse grids of a video; None keeps all.
    """

    edges: tuple[float, ...] = (0.0, 1.0)
    grids: tuple[Side, ...] = (1,)
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
        for grid in grids:
            check_value(grid, SparseGrid, field="grids")
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


def side_at(clean: Side, noise: Side | None, stage: int, num_stages: int) -> Side:
    """Go from the grid near the data to the one near noise: each side's square linearly, so that the pruning rate is
    linear, and sides are rounded down. One stage is data's."""
    last, to = max(num_stages - 1, 1), clean if noise is None else noise
    height, width = (
        isqrt(round(one**2 + (other**2 - one**2) * stage / last))
        for one, other in zip(sides_of(clean), sides_of(to), strict=True)
    )
    return f"{height}x{width}" if isinstance(clean, str) else height


def _check_alike(clean: Side | None, noise: Side | None, *, of: tuple[str, str]) -> None:
    """Check that two grids can be interpolated."""
    if noise is not None and isinstance(clean, str) != isinstance(noise, str):
        raise UserError(f"must be named as {of[0]} is ({clean!r}), but got {noise!r}", field=of[1])


@dataclass(frozen=True, kw_only=True)
class OwnGrid:
    """The sparse grid of one module, where it is not the timetable's.

    Attributes:
        clean: near the data; None is the timetable's.
        noise: near noise; None is as near the data. In between as the timetable's.
    """

    clean: SparseGrid | None = None
    noise: SparseGrid | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.clean is None and self.noise is not None:
            raise UserError(f"is missing beside noise {self.noise!r}", field="clean")
        _check_alike(self.clean, self.noise, of=("clean", "noise"))

    def side(self, stage: int, num_stages: int) -> Side | None:
        """Name the grid of a stage, from 0 near the data; None is the timetable's."""
        return None if self.clean is None else side_at(self.clean, self.noise, stage, num_stages)


NO_GRID = OwnGrid()


@dataclass(frozen=True, kw_only=True)
class LinearTimetable:
    """Equal stages whose pruning rate goes linearly from the clean grid's to the noise grid's, grids rounded down.

    With four stages and grids 10 to 6 this is the paper's r in [0.61, 0.86] on 256 tokens: 10, 8, 7, 6. One stage
    uses the clean grid.

    Attributes:
        stages: number of stages.
        clean_grid: the sparse grid near the data: tokens along its shorter side, or height x width; None where no block
            works on sparse tokens, or every module has its own grid, so that stages alone matter.
        noise_grid: the same near noise; None is the clean grid.
        frames: frames of the sparse grids of a video; None keeps all.
    """

    stages: ListedCount = 1
    clean_grid: SparseGrid | None = None
    noise_grid: SparseGrid | None = None
    frames: PositiveCount | None = None

    def __post_init__(self) -> None:
        _check_alike(self.clean_grid or 1, self.noise_grid, of=("clean_grid", "noise_grid"))

    def build(self, *, frames: int = 1) -> Timetable:
        """Give the timetable of a model whose dense tokens have `frames` frames."""
        clean, noise = self.clean_grid or 1, self.noise_grid
        return Timetable(
            edges=equal_edges(self.stages),
            grids=tuple(side_at(clean, noise, stage, self.stages) for stage in range(self.stages)),
            frames=None if self.frames == frames else self.frames,
        )
