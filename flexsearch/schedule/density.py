"""The density schedule: which role each block plays, on how many tokens, at which diffusion time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from flexsearch.errors import UserError
from flexsearch.measurement import short_digest
from flexsearch.schedule.families import Segment, family_named
from flexsearch.schedule.families.dense import DENSE, Dense
from flexsearch.schedule.pickling import PickledWithoutHash
from flexsearch.schedule.role import ROLES, Amounts, HashedOnce, Operation, Route
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.timetable import Timetable


@dataclass(frozen=True, kw_only=True)
class DensitySchedule(PickledWithoutHash):
    """Segments from bottom to top and a timetable of sparse grids.

    A schedule without sparse tokens has no use for grids, and one whose blocks do the same in all stages none for
    stages: then its timetable is one stage with grid 1.
    """

    segments: tuple[Segment, ...]
    timetable: Timetable = field(default_factory=Timetable)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(segment for segment in self.segments if segment.roles))
        if not self.segments:
            raise UserError("must hold at least one block", field="segments")
        if len(set(self.amounts)) > 1:
            grids = self.timetable.grids if self.has_sparse_tokens else (1,) * self.timetable.num_stages
            frames = self.timetable.frames if self.has_sparse_tokens else None
            object.__setattr__(self, "timetable", Timetable(edges=self.timetable.edges, grids=grids, frames=frames))
        else:
            joined = self.timetable.joined() if self.has_sparse_tokens else Timetable()
            object.__setattr__(self, "timetable", joined)

    @cached_property
    def _hash(self) -> int:
        return hash((self.segments, self.timetable))

    def __hash__(self) -> int:
        return self._hash  # asked for at every lowering

    @classmethod
    @lru_cache(maxsize=16)  # half of the candidates among which a search chooses are dense
    def all_dense(cls, num_blocks: int) -> "DensitySchedule":
        """Give the schedule that changes nothing."""
        return cls(segments=(Dense(depth=num_blocks),))

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """One role per block, bottom to top; the same in every stage."""
        return tuple(role for segment in self.segments for role in segment.roles)

    @property
    def amounts(self) -> tuple[tuple[Amounts, ...], ...]:
        """Per stage, how much of each block is computed."""
        num = self.timetable.num_stages
        if all(type(segment).amounts is Segment.amounts for segment in self.segments):
            return (((),) * self.num_blocks,) * num
        return tuple(
            tuple(one for segment in self.segments for one in segment.amounts(stage, num)) for stage in range(num)
        )

    @property
    def num_blocks(self) -> int:
        """Blocks of the model that it is for."""
        return len(self.roles)

    @property
    def has_sparse_tokens(self) -> bool:
        """Whether any block works on sparse tokens."""
        return any(ROLES[role].uses_sparse_tokens for role in self.roles)

    @cached_property
    def is_dense(self) -> bool:
        """Whether every block is the base's own."""
        return set(self.roles) == {DENSE.name}

    @cached_property
    def digest(self) -> str:
        """Identify what the schedule does: two spellings of the same roles, grids and amounts share it."""
        spelled = {"roles": self.roles, "timetable": self.timetable.to_dict()}
        return short_digest(spelled if not any(map(any, self.amounts)) else {**spelled, "amounts": self.amounts})

    def routes(self, grid: TokenGrid, *, num_blocks: int | None = None) -> tuple[Route, ...]:
        """Lower to operations: one route per stage, for a model whose dense tokens lie on `grid`.

        Args:
            grid: of the dense tokens.
            num_blocks: blocks of the model; None takes the schedule's word.

        Raises:
            UserError: the segments do not add up to `num_blocks`, or a sparse grid is larger than the dense one.
        """
        if num_blocks is not None and self.num_blocks != num_blocks:
            raise UserError(f"must add up to {num_blocks} blocks, but got {self.num_blocks}", field="segments")
        return _routes(self, grid)

    def route_at(self, time: float, grid: TokenGrid) -> Route:
        """Give the operations at a diffusion time in [0, 1]."""
        return self.routes(grid)[self.timetable.stage_of(time)]

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values; `from_dict` is the inverse."""
        return {
            "segments": [{"family": segment.family, **vars(segment)} for segment in self.segments],
            "timetable": self.timetable.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DensitySchedule":
        """Build a schedule from JSON values.

        Raises:
            UserError: an unknown family or field, or a value out of range; names the field.
        """
        segments = []
        for index, entry in enumerate(values.get("segments", ())):
            path = f"segments[{index}]"
            family = family_named(entry.get("family"), field=f"{path}.family")
            try:
                segments.append(family(**{key: value for key, value in entry.items() if key != "family"}))
            except UserError as error:
                raise error.under(path) from None
            except TypeError as error:
                raise UserError(f"has unknown or missing fields ({error})", field=path) from None
        timetable: dict[str, Any] = dict(values.get("timetable", {}))
        try:
            built = Timetable(**timetable)
        except UserError as error:
            raise error.under("timetable") from None
        except TypeError as error:
            raise UserError(f"has unknown or missing fields ({error})", field="timetable") from None
        return cls(segments=tuple(segments), timetable=built)

    def __str__(self) -> str:
        """One letter per block, bottom to top, and the sparse grids from data to noise."""
        text = "".join(ROLES[role].letter for role in self.roles)
        if self.has_sparse_tokens:
            text += " @" + ",".join(str(grid) for grid in self.timetable.grids)
            if self.timetable.frames is not None:
                text += f" {self.timetable.frames}f"
        return text


@lru_cache(maxsize=1 << 14)
def _routes(schedule: DensitySchedule, grid: TokenGrid) -> tuple[Route, ...]:
    routes = []
    for stage, (side, amounts) in enumerate(zip(schedule.timetable.grids, schedule.amounts, strict=True)):
        try:
            sparse = grid.pooled(side, schedule.timetable.frames)
        except UserError as error:
            raise error.under(f"timetable.grids[{stage}]") from None
        routes.append(_route(schedule.roles, amounts, grid, sparse))
    return tuple(routes)


@lru_cache(maxsize=1 << 14)
def _route(roles: tuple[str, ...], amounts: tuple[Amounts, ...], dense: TokenGrid, sparse: TokenGrid) -> Route:
    """The operations of one stage, which schedules with other timetables share."""
    played = list(zip(roles, amounts, strict=True))
    operations = {one: _operations(*one, dense, sparse, len(roles)) for one in set(played)}
    return HashedOnce(operations[one][block] for block, one in enumerate(played))


@lru_cache(maxsize=1 << 12)
def _operations(
    role: str, amounts: Amounts, dense: TokenGrid, sparse: TokenGrid, num_blocks: int
) -> tuple[Operation, ...]:
    """A role in every block, which routes share."""
    queries, keys = ROLES[role].tokens(dense, sparse)
    return tuple(
        Operation(role=role, block=block, queries=queries, keys=keys, amounts=amounts) for block in range(num_blocks)
    )
