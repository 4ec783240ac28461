"""The family `sdtm`: sparse-dense token modules (FlexDiT, arXiv 2412.06028, section 3.2 and figure 2)."""

from dataclasses import dataclass
from typing import ClassVar

from flexsearch.schedule.cost import block_macs, linear_params
from flexsearch.schedule.families.dense import DENSE, Dense
from flexsearch.schedule.families.segment import Segment, register_family
from flexsearch.schedule.role import Operation, Role, register_role
from flexsearch.schedule.shape import TransformerShape
from flexsearch.schedule.timetable import NO_GRID, OwnGrid
from flexsearch.schedule.width import FULL_WIDTH, Width
from flexsearch.settings import Count, PositiveCount


def _recover_macs(operation: Operation, shape: TransformerShape) -> int:
    """The block, W1 on the sparse tokens (before upsampling) and W2 on the dense ones."""
    return block_macs(operation, shape) + _merging_macs(operation, shape)


def _merging_macs(operation: Operation, shape: TransformerShape) -> int:
    return (operation.keys.num_tokens + operation.queries.num_tokens) * shape.width**2


def _recover_params(shape: TransformerShape) -> int:
    """W1 and W2."""
    return 2 * linear_params(shape)


MERGE = register_role(Role(name="merge", letter="M", colour="#e2764a", macs=block_macs, asks="sparse"))
SPARSE = register_role(
    Role(
        name="sparse",
        letter="s",
        colour="#a9dcd3",
        macs=block_macs,
        asks="sparse",
        reads="sparse",
    )
)
RECOVER = register_role(
    Role(
        name="recover",
        letter="R",
        colour="#2b9a94",
        macs=_recover_macs,
        params=_recover_params,
        macs_beside_modules=_merging_macs,
        reads="sparse",
    )
)


@register_family
@dataclass(frozen=True, kw_only=True)
class Sdtm(Segment):
    """One module: `merge` blocks make sparse tokens, `sparse` blocks run on them, one block recovers the dense tokens,
    `dense` blocks refine them. The paper's `[g0, g1, 1, g3]`. All of its blocks have one width, and in every stage its
    sparse tokens have one grid: the timetable's, or its own."""

    family: ClassVar[str] = "sdtm"
    rest: ClassVar[str | None] = "sparse"
    needs_grid: ClassVar[bool] = True
    merge: PositiveCount = 1
    sparse: Count
    dense: Count = 1
    width: Width = FULL_WIDTH
    grid: OwnGrid = NO_GRID

    @property
    def roles(self) -> tuple[str, ...]:
        names = (MERGE.name,) * self.merge + (SPARSE.name,) * self.sparse
        return (*names, RECOVER.name, *(DENSE.name,) * self.dense)

    @classmethod
    def designs(cls, num_blocks: int) -> list[tuple[Segment, ...]]:
        """Sparse blocks between one merge and one recover; merges and recovers in turn; merges and one recover."""
        turns = (cls(sparse=0, dense=0),) * (num_blocks // 2)
        return [
            (cls(sparse=num_blocks - 2, dense=0),),
            (*turns, Dense(depth=num_blocks % 2)),
            (cls(merge=num_blocks - 1, sparse=0, dense=0),),
        ]
