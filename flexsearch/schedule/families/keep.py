"""The family `keep`: blocks, or their MLPs, that run on some tokens, chosen by their content; the others bypass them.

Source: DiffCR (arXiv 2412.16822), whose layers keep a learned share of the tokens; DyDiT (arXiv 2410.03456), where
tokens bypass the MLP alone. Where we depart: how many are kept is static, by stage; which ones is decided by a score
that is a token's detail as long as nothing is trained, and the gate of what is kept is then 1: full is the base.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from flexsearch.schedule.cost import attention_macs, rest_macs, temporal_macs, text_macs
from flexsearch.schedule.families.dense import DENSE
from flexsearch.schedule.families.segment import Segment, register_family
from flexsearch.schedule.role import Amounts, Operation, Role, register_role
from flexsearch.schedule.shape import TokenGrid, TransformerShape
from flexsearch.schedule.width import ALL_KEPT, EIGHTHS, TOKENS, Kept
from flexsearch.settings import Count


def kept_grid(operation: Operation) -> TokenGrid:
    """The tokens that an operation keeps, in a row: eighths of each frame's, rounded up."""
    grid = operation.queries
    num = -(-grid.height * grid.width * operation.amount(TOKENS, full=EIGHTHS) // EIGHTHS)
    return TokenGrid(frames=grid.frames, height=1, width=num)


def _block_macs(operation: Operation, shape: TransformerShape) -> int:
    """The block among the tokens that are kept, and the score of all."""
    kept = kept_grid(operation)
    macs = attention_macs(kept, kept, shape) + rest_macs(kept.num_tokens, shape) + text_macs(kept.num_tokens, shape)
    return macs + _others(operation, shape)


def _mlp_macs(operation: Operation, shape: TransformerShape) -> int:
    """Attention of all tokens, the MLP of those that are kept, and the score of all."""
    grid = operation.queries
    macs = attention_macs(grid, grid, shape) + text_macs(grid.num_tokens, shape)
    return macs + rest_macs(kept_grid(operation).num_tokens, shape) + _others(operation, shape)


def _others(operation: Operation, shape: TransformerShape) -> int:
    """The score, and of a video the temporal block, which no token bypasses."""
    return operation.queries.num_tokens * shape.width + temporal_macs(operation.queries, shape)


def _params(shape: TransformerShape) -> int:
    """The score's vector."""
    return shape.width


KEEP = register_role(
    Role(name="keep", letter="k", colour="#8a5aa8", macs=_block_macs, params=_params, whole=DENSE.name)
)
KEEP_MLP = register_role(
    Role(name="keep_mlp", letter="m", colour="#c3a1d6", macs=_mlp_macs, params=_params, whole=DENSE.name)
)


@register_family
@dataclass(frozen=True, kw_only=True)
class Keep(Segment):
    """`depth` blocks that some tokens bypass: the whole of a block, or its MLP alone."""

    family: ClassVar[str] = "keep"
    depth: Count
    scope: Literal["mlp", "block"] = "mlp"
    tokens: Kept = ALL_KEPT

    @property
    def roles(self) -> tuple[str, ...]:
        return ((KEEP if self.scope == "block" else KEEP_MLP).name,) * self.depth

    def amounts(self, stage: int, num_stages: int) -> tuple[Amounts, ...]:
        return (self.tokens.amounts(TOKENS, stage, num_stages),) * self.depth
