"""The family `sdtm`: sparse-dense token modules (FlexDiT, arXiv 2412.06028, section 3.2 and figure 2)."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

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


def _resampling_macs(operation: Operation, shape: TransformerShape) -> int:
    """Learned resampling: three numbers of every source token, and the product with the tokens, frame by frame."""
    places = operation.queries.height * operation.queries.width
    return operation.keys.num_tokens * shape.width * (3 + places)


def _merge_learned_macs(operation: Operation, shape: TransformerShape) -> int:
    return block_macs(operation, shape) + _resampling_macs(operation, shape)


def _merging_learned_macs(operation: Operation, shape: TransformerShape) -> int:
    return _merging_macs(operation, shape) + _resampling_macs(operation, shape)


def _recover_learned_macs(operation: Operation, shape: TransformerShape) -> int:
    return block_macs(operation, shape) + _merging_learned_macs(operation, shape)


def _resampling_params(shape: TransformerShape) -> int:
    """A linear map to three numbers, and how much of it is taken."""
    return 3 * shape.width + 4


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


MERGE_LEARNED = register_role(
    Role(
        name="merge_learned",
        letter="l",
        colour="#b3531f",
        macs=_merge_learned_macs,
        params=_resampling_params,
        macs_beside_modules=_resampling_macs,
        asks="sparse",
    )
)
RECOVER_BILINEAR = register_role(
    Role(
        name="recover_bilinear",
        letter="B",
        colour="#55b3ad",
        macs=_recover_macs,
        params=_recover_params,
        macs_beside_modules=_merging_macs,
        reads="sparse",
    )
)
RECOVER_LEARNED = register_role(
    Role(
        name="recover_learned",
        letter="L",
        colour="#1c7a75",
        macs=_recover_learned_macs,
        params=lambda shape: _recover_params(shape) + _resampling_params(shape),
        macs_beside_modules=_merging_learned_macs,
        reads="sparse",
    )
)
Resample = Literal["average", "bilinear", "learned"]
_RESAMPLED: dict[Resample, tuple[Role, Role]] = {
    "average": (MERGE, RECOVER),
    "bilinear": (MERGE, RECOVER_BILINEAR),
    "learned": (MERGE_LEARNED, RECOVER_LEARNED),
}
"""By how tokens are resampled: the role that makes sparse ones, and the one that makes dense ones again."""


@register_family
@dataclass(frozen=True, kw_only=True)
class Sdtm(Segment):
    """One module: `merge` blocks make sparse tokens, `sparse` blocks run on them, one block recovers the dense tokens,
    `dense` blocks refine them. The paper's `[g0, g1, 1, g3]`. All of its blocks have one width, and in every stage its
    sparse tokens have one grid: the timetable's, or its own.

    Attributes:
        resample: how tokens come from one grid to the other. "average": sparse tokens are averages, dense ones take
            their nearest. "bilinear": dense ones take what is linearly between. "learned": every token has a Gaussian
            of its own, which starts as "average" (`flexsearch.models.resample`).
    """

    family: ClassVar[str] = "sdtm"
    rest: ClassVar[str | None] = "sparse"
    needs_grid: ClassVar[bool] = True
    optional: ClassVar[frozenset[str]] = frozenset({"resample"})
    merge: PositiveCount = 1
    sparse: Count
    dense: Count = 1
    width: Width = FULL_WIDTH
    grid: OwnGrid = NO_GRID
    resample: Resample = "average"

    @property
    def roles(self) -> tuple[str, ...]:
        first, last = _RESAMPLED[self.resample]
        names = (first.name, *(MERGE.name,) * (self.merge - 1), *(SPARSE.name,) * self.sparse)
        return (*names, last.name, *(DENSE.name,) * self.dense)

    @classmethod
    def designs(cls, num_blocks: int) -> list[tuple[Segment, ...]]:
        """Sparse blocks between one merge and one recover; merges and recovers in turn; merges and one recover."""
        turns = (cls(sparse=0, dense=0),) * (num_blocks // 2)
        return [
            (cls(sparse=num_blocks - 2, dense=0),),
            (*turns, Dense(depth=num_blocks % 2)),
            (cls(merge=num_blocks - 1, sparse=0, dense=0),),
        ]

    @classmethod
    def further_designs(cls, num_blocks: int, roles: Collection[str]) -> list[tuple[Segment, ...]]:
        """Merges and recovers in turn, resampled otherwise: the two of one kind occur together in every schedule."""
        kinds = [kind for kind, (_, last) in _RESAMPLED.items() if kind != "average" and last.name in roles]
        odd = Dense(depth=num_blocks % 2)
        return [(*(cls(sparse=0, dense=0, resample=kind),) * (num_blocks // 2), odd) for kind in kinds]
