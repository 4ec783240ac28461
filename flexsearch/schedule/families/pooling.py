"""The family `pooling`: blocks whose attention has uniform weights (FlexDiT, arXiv 2412.06028, section 3.2)."""

from dataclasses import dataclass
from typing import ClassVar

from flexsearch.schedule.cost import linear_params, rest_macs, text_macs, uniform_attention_macs
from flexsearch.schedule.families.segment import Segment, register_family
from flexsearch.schedule.role import Operation, Role, register_role
from flexsearch.schedule.shape import TransformerShape
from flexsearch.schedule.width import FULL_WIDTH, Width
from flexsearch.settings import Count


def _macs(operation: Operation, shape: TransformerShape) -> int:
    """One mean token per frame, and in time one per place, is projected; queries and keys drop out."""
    grid, amounts = operation.queries, operation.amounts
    n = grid.num_tokens
    if shape.block is not None:
        return shape.block.pool_macs(n)
    rest = rest_macs(n, shape, amounts)
    macs = uniform_attention_macs(grid.frames, shape, amounts) + rest + text_macs(n, shape)
    if shape.has_temporal_blocks:
        macs += uniform_attention_macs(n // grid.frames, shape, amounts) + rest
    return macs


def _params(shape: TransformerShape) -> int:
    """Projections of queries and keys are unused."""
    if shape.block is not None:
        return -shape.block.pool_params
    return -2 * linear_params(shape) * shape.blocks_per_operation


POOL = register_role(Role(name="pool", letter="P", colour="#f2b84b", macs=_macs, params=_params))


@register_family
@dataclass(frozen=True, kw_only=True)
class Pooling(Segment):
    """`depth` blocks that pool, on all tokens."""

    family: ClassVar[str] = "pooling"
    depth: Count
    width: Width = FULL_WIDTH

    @property
    def roles(self) -> tuple[str, ...]:
        return (POOL.name,) * self.depth
