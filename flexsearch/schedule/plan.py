"""The plan: one operation per block and stage. Everything else reads it: forward pass, MACs, latency, new weights."""

from dataclasses import dataclass

from flexsearch.errors import UserError
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.roles import Role
from flexsearch.schedule.timetable import Timetable


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What one block does: the tokens that ask (and leave the block) and the tokens that they attend to."""

    kind: Role
    block: int
    queries: TokenGrid
    keys: TokenGrid


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run of operations per stage of the timetable."""

    timetable: Timetable
    stages: tuple[tuple[Operation, ...], ...]

    def blocks(self, kind: Role) -> tuple[int, ...]:
        """The blocks that play role `kind`; the same in every stage."""
        return tuple(operation.block for operation in self.stages[0] if operation.kind == kind)

    def stage_of(self, time: float) -> int:
        """The stage that covers `time` in [0, 1]."""
        return self.timetable.stage_of(time)


def lower(schedule: DensitySchedule, *, num_blocks: int, grid: TokenGrid) -> Plan:
    """Lowers a schedule to operations on a model of `num_blocks` blocks whose dense tokens lie on `grid`.

    Raises:
        UserError: the segments do not add up to `num_blocks`, or a sparse grid is larger than the dense one.
    """
    if schedule.num_blocks != num_blocks:
        raise UserError(f"must add up to {num_blocks} blocks, but got {schedule.num_blocks}", field="segments")
    stages = []
    for stage, side in enumerate(schedule.timetable.grids):
        try:
            sparse = grid.pooled(side, schedule.timetable.frames)
        except UserError as error:
            raise error.under(f"timetable.grids[{stage}]") from None
        tokens = {"merge": (sparse, grid), "sparse": (sparse, sparse), "recover": (grid, sparse)}
        asking = [(role, *tokens.get(role, (grid, grid))) for role in schedule.roles]
        stages.append(
            tuple(
                Operation(kind=role, block=block, queries=queries, keys=keys)
                for block, (role, queries, keys) in enumerate(asking)
            )
        )
    return Plan(timetable=schedule.timetable, stages=tuple(stages))
