"""The density schedule: which role each block plays, on how many tokens, at which diffusion time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import groupby
from typing import Any

from flexsearch.errors import UserError
from flexsearch.measurement import short_digest
from flexsearch.schedule.families import Segment, family_named
from flexsearch.schedule.families.dense import DENSE, Dense
from flexsearch.schedule.pickling import PickledWithoutHash
from flexsearch.schedule.role import ROLES, Amounts, HashedOnce, Operation, Route
from flexsearch.schedule.shape import Side, TokenGrid
from flexsearch.schedule.timetable import NO_GRID, Timetable
from flexsearch.schedule.width import EIGHTHS


@dataclass(frozen=True, kw_only=True)
class DensitySchedule(PickledWithoutHash):
    """Segments from bottom to top and a timetable of sparse grids.

    A schedule without sparse tokens has no use for grids, and one whose blocks do the same in all stages none for
    stages: then its timetable is one stage with grid 1. Grids of modules' own that agree in every stage are the
    timetable's.
    """

    segments: tuple[Segment, ...]
    timetable: Timetable = field(default_factory=Timetable)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(segment for segment in self.segments if segment.roles))
        if not self.segments:
            raise UserError("must hold at least one block", field="segments")
        if self.has_own_grids:
            self._share_grids()
        num_stages = self.timetable.num_stages
        if len(set(_amounts(self.segments, num_stages))) > 1 or len(set(_own_sides(self.segments, num_stages))) > 1:
            grids = self.timetable.grids if self.has_sparse_tokens else (1,) * self.timetable.num_stages
            frames = self.timetable.frames if self.has_sparse_tokens else None
            object.__setattr__(self, "timetable", Timetable(edges=self.timetable.edges, grids=grids, frames=frames))
        else:
            joined = self.timetable.joined() if self.has_sparse_tokens else Timetable()
            object.__setattr__(self, "timetable", joined)

    def _share_grids(self) -> None:
        """Give the timetable the grids of modules whose own agree in every stage, or grid 1 where all have their own:
        equal things are equal."""
        modules, timetable = [one for one in self.segments if one.uses_sparse_tokens], self.timetable
        sides = self.module_sides
        if all(len(set(stage)) == 1 for stage in sides):
            grids: tuple[Side, ...] = tuple(stage[0] for stage in sides)
            object.__setattr__(self, "segments", tuple(segment.without_grid() for segment in self.segments))
        elif all(one.own_grid != NO_GRID for one in modules):
            grids = (1,) * timetable.num_stages
        else:
            return
        object.__setattr__(self, "timetable", replace(timetable, grids=grids))

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

    @property
    def has_own_grids(self) -> bool:
        """Whether some module has a sparse grid of its own."""
        return any(segment.own_grid != NO_GRID for segment in self.segments)

    @property
    def module_sides(self) -> tuple[tuple[Side, ...], ...]:
        """Per stage, the sparse grid of each module, bottom to top: of each segment that works on sparse tokens."""
        timetable = self.timetable
        modules = [segment.own_grid for segment in self.segments if segment.uses_sparse_tokens]
        return tuple(
            tuple(own.side(stage, timetable.num_stages) or side for own in modules)
            for stage, side in enumerate(timetable.grids)
        )

    @property
    def block_sides(self) -> tuple[tuple[Side | None, ...], ...]:
        """Per stage, the sparse grid of each block's module; None of other blocks."""
        nums = [(len(segment.roles), segment.uses_sparse_tokens) for segment in self.segments]
        found = []
        for stage in self.module_sides:
            sides = iter(stage)
            found.append(tuple(side for num, is_sparse in nums for side in (next(sides) if is_sparse else None,) * num))
        return tuple(found)

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
        if not self.has_amounts and not self.has_own_grids:
            return short_digest({"roles": self.roles, "timetable": self.timetable.to_dict()})
        amounts, timetable = self.amounts, self.timetable
        grids: tuple[Any, ...] = self.block_sides if self.has_own_grids else timetable.grids
        starts = [
            stage
            for stage in range(timetable.num_stages)
            if stage == 0 or (grids[stage], amounts[stage]) != (grids[stage - 1], amounts[stage - 1])
        ]
        stages = [(timetable.edges[one], grids[one], amounts[one]) for one in starts]
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
        """One letter per block, bottom to top, the sparse grids from data to noise, in a stage in which modules' differ
        one each, bottom to top ("@5/3,4/2"), and what is computed in part."""
        text = "".join(ROLES[role].letter for role in self.roles)
        if self.has_sparse_tokens:
            text += " @" + ",".join(map(_said_sides, self.module_sides))
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


def _own_sides(segments: tuple[Segment, ...], num_stages: int) -> tuple[tuple[Side, ...], ...]:
    """Per stage, the grids that modules have of their own."""
    own = [segment.own_grid for segment in segments if segment.own_grid != NO_GRID]
    sides = (tuple(one.side(stage, num_stages) for one in own) for stage in range(num_stages if own else 1))
    return tuple(sides)  # type: ignore[arg-type]


def _said_sides(sides: tuple[Side, ...]) -> str:
    """The grid of all modules in one stage, or of each."""
    return "/".join(map(str, sides if len(set(sides)) > 1 else sides[:1]))


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
    timetable = schedule.timetable
    _check_fits(schedule, grid)
    stages = zip(schedule.block_sides, schedule.amounts, strict=True)
    return tuple(_route(schedule.roles, amounts, grid, sides, timetable.frames) for sides, amounts in stages)


def _check_fits(schedule: DensitySchedule, grid: TokenGrid) -> None:
    """Check that sparse grids are no larger than the dense one.

    Raises:
        UserError: one is; names it.
    """
    timetable = schedule.timetable
    paths = [(f"timetable.grids[{stage}]", side) for stage, side in enumerate(timetable.grids)]
    for index, segment in enumerate(schedule.segments):
        own = segment.own_grid
        paths += [
            (f"segments[{index}].grid.{name}", side)
            for name, side in (("clean", own.clean), ("noise", own.noise))
            if side is not None
        ]
    for path, side in paths:
        try:
            grid.pooled(side, timetable.frames)
        except UserError as error:
            raise error.under(path) from None


@lru_cache(maxsize=1 << 14)
def _route(
    roles: tuple[str, ...],
    amounts: tuple[Amounts, ...],
    dense: TokenGrid,
    sides: tuple[Side | None, ...],
    frames: int | None,
) -> Route:
    """The operations of one stage, which schedules with other timetables share."""
    played = list(zip(roles, amounts, sides, strict=True))
    operations = {
        (role, part, side): _operations(
            role, part, dense, dense if side is None else dense.pooled(side, frames), len(roles)
        )
        for role, part, side in set(played)
    }
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
