"""The family `blocksparse`: blocks whose tokens attend to some blocks of keys, chosen by their content.

Source: AdaSpa (arXiv 2502.21079), which finds at run time, for every head, which blocks of keys hold the mass of
attention, and needs no training. Where we depart: how many are kept is static, by stage, and alike in all heads;
which ones is decided at every call by means of queries and keys, so that a run carries no state; blocks have 128
tokens, as the kernel wants, not 64. Only attention's two products shrink, so it is for long sequences alone.
"""

from dataclasses import dataclass
from typing import ClassVar

from flexsearch.errors import UserError
from flexsearch.schedule.cost import block_macs
from flexsearch.schedule.families.dense import DENSE
from flexsearch.schedule.families.segment import Segment, register_family
from flexsearch.schedule.role import Amounts, Operation, Role, register_role
from flexsearch.schedule.shape import TransformerShape
from flexsearch.schedule.width import ALL_KEPT, EIGHTHS, Kept
from flexsearch.settings import Count

TILE = 128
"""Tokens of a block of queries or keys, in the order of the sequence; the last block may have fewer."""

LEAST_TOKENS = 4096
"""Tokens that must attend to each other: attention's products are 13 % of a DiT-XL's MACs at 1,024, 37 % at 4,096."""

BLOCKS = "blocks"
"""Name of the amount: blocks of keys that are attended to."""


def num_tiles(tokens: int) -> int:
    """Blocks of this many tokens."""
    return -(-tokens // TILE)


def num_kept(tokens: int, eighths: int) -> int:
    """Of the blocks of this many tokens, those that are attended to, rounded up."""
    return -(-num_tiles(tokens) * eighths // EIGHTHS)


def check_tokens(tokens: int) -> None:
    """Check that attention is long enough.

    Raises:
        UserError: it is not.
    """
    if tokens < LEAST_TOKENS:
        raise UserError(
            f"the family blocksparse needs a model whose tokens attend to at least {LEAST_TOKENS:,}, but here it is "
            f"{tokens:,}: what it saves of so few is below a latency's noise"
        )


def _check(shape: TransformerShape) -> None:
    if not shape.attends_alone:
        raise UserError(
            "the family blocksparse chooses keys where image tokens attend by softmax to image tokens alone (DiT, "
            "PixArt-alpha, Latte, Wan); this base's attention is joint with text, or linear"
        )
    check_tokens(_attended(shape, shape.grid.num_tokens))


def _attended(shape: TransformerShape, tokens: int) -> int:
    """Tokens that one attends to: of a model with temporal blocks those of its frame, else all."""
    return tokens // shape.grid.frames if shape.has_temporal_blocks else tokens


def _macs(operation: Operation, shape: TransformerShape) -> int:
    """The base's block, with products of whole blocks of queries and keys, and of their means, to choose by."""
    grid, c = operation.queries, shape.width
    windows = grid.frames if shape.has_temporal_blocks else 1
    tokens = grid.num_tokens // windows
    tiles, kept = num_tiles(tokens), num_kept(tokens, operation.amount(BLOCKS, full=EIGHTHS))
    products = 2 * c * (tiles * kept * TILE**2 - tokens**2) + c * tiles**2
    return block_macs(operation, shape) + windows * products


BLOCKSPARSE = register_role(
    Role(name="blocksparse", letter="b", colour="#6f8fbf", macs=_macs, whole=DENSE.name, check=_check)
)


@register_family
@dataclass(frozen=True, kw_only=True)
class Blocksparse(Segment):
    """`depth` blocks of the base whose queries attend to some blocks of keys."""

    family: ClassVar[str] = "blocksparse"
    depth: Count
    blocks: Kept = ALL_KEPT

    @property
    def roles(self) -> tuple[str, ...]:
        return (BLOCKSPARSE.name,) * self.depth

    def amounts(self, stage: int, num_stages: int) -> tuple[Amounts, ...]:
        return (self.blocks.amounts(BLOCKS, stage, num_stages),) * self.depth
