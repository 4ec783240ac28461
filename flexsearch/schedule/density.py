"""The density schedule: which role each block plays, on how many tokens, at which diffusion time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Any

from flexsearch.errors import UserError
from flexsearch.measurement import short_digest
from flexsearch.schedule.families import Segment, family_named
from flexsearch.schedule.families.dense import DENSE, Dense
from flexsearch.schedule.pickling import PickledWithoutHash
from flexsearch.schedule.role import ROLES, Amounts, HashedOnce, Operation, Route
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.timetable import Timetable
from flexsearch.schedule.width import EIGHTHS


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
        if len(set(_amounts(self.segments, self.timetable.num_stages))) > 1:
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
        """One role per block, bottom to top; the same in every stage in which something of the block is left out."""
        named = (role for segment in self.segments for role in segment.roles)
        in_part = (any(amounts) for amounts in zip(*self.amounts, strict=True))
        return tuple(role if part else _whole(role) for role, part in zip(named, in_part, strict=True))

    @cached_property
    def amounts(self) -> tuple[tuple[Amounts, ...], ...]:
        """Per stage, how much of each block is computed."""
        return _amounts(self.segments, self.timetable.num_stages)

    @property
    def num_blocks(self) -> int:
        """Blocks of the model that it is for."""
        return sum(len(segment.roles) for segment in self.segments)

    @property
    def has_sparse_tokens(self) -> bool:
        """Whether any block works on sparse tokens."""
        return any(ROLES[role].uses_sparse_tokens for segment in self.segments for role in segment.roles)

    @cached_property
    def is_dense(self) -> bool:
        """Whether every block is the base's own, and whole."""
        return set(self.roles) == {DENSE.name} and not self.has_amounts

    @cached_property
    def has_amounts(self) -> bool:
        """Whether some block is computed in part."""
        return any(map(any, self.amounts))

    @cached_property
    def digest(self) -> str:
        """Identify what the schedule does: two spellings of the same roles, grids and amounts share it."""
        if not self.has_amounts:
            return short_digest({"roles": self.roles, "timetable": self.timetable.to_dict()})
        amounts, timetable = self.amounts, self.timetable
        starts = [
            stage
            for stage in range(timetable.num_stages)
            if stage == 0
            or (timetable.grids[stage], amounts[stage]) != (timetable.grids[stage - 1], amounts[stage - 1])
        ]
        stages = [(timetable.edges[one], timetable.grids[one], amounts[one]) for one in starts]
        return short_digest({"roles": self.roles, "stages": stages, "frames": timetable.frames})

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
            "segments": [segment.to_dict() for segment in self.segments],
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
                segments.append(family.from_dict(entry))
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
        """One letter per block, bottom to top, the sparse grids from data to noise, and what is computed in part."""
        text = "".join(ROLES[role].letter for role in self.roles)
        if self.has_sparse_tokens:
            text += " @" + ",".join(str(grid) for grid in self.timetable.grids)
            if self.timetable.frames is not None:
                text += f" {self.timetable.frames}f"
        return text + "".join(f" {one}" for one in self._said_amounts())

    def _said_amounts(self) -> Iterator[str]:
        """Say what of which blocks is computed, from data to noise, e.g. "heads 6/8 hidden 6,4/8 in 2-9"."""
        for amounts, run in groupby(range(self.num_blocks), key=list(zip(*self.amounts, strict=True)).__getitem__):
            blocks, parts = list(run), []
            for name in sorted({name for stage in amounts for name, _ in stage}):
                eighths = [str(dict(stage).get(name, EIGHTHS)) for stage in amounts]
                parts.append(f"{name} {','.join(eighths if len(set(eighths)) > 1 else eighths[:1])}/{EIGHTHS}")
            if parts:
                yield f"{' '.join(parts)} in {blocks[0]}-{blocks[-1]}"


def _whole(role: str) -> str:
    """The role of a block of which nothing is left out."""
    return ROLES[role].whole or role


def _amounts(segments: tuple[Segment, ...], num_stages: int) -> tuple[tuple[Amounts, ...], ...]:
    if all(segment.is_whole for segment in segments):
        return (((),) * sum(len(segment.roles) for segment in segments),) * num_stages
    return tuple(
        tuple(one for segment in segments for one in segment.amounts(stage, num_stages)) for stage in range(num_stages)
    )


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
    role = role if amounts else _whole(role)
    queries, keys = ROLES[role].tokens(dense, sparse)
    return tuple(
        Operation(role=role, block=block, queries=queries, keys=keys, amounts=amounts) for block in range(num_blocks)
    )
