"""The role `pool`: attention with uniform weights (FlexDiT, arXiv 2412.06028, section 3.2)."""

from functools import partial

from torch import Tensor

from flexsearch.models.backbones.block import TransformerBlock
from flexsearch.models.backbones.modulation import Modulation
from flexsearch.models.roles.role_module import Call, RoleModule, register_role_module
from flexsearch.models.tokens import Tokens
from flexsearch.schedule.families.pooling import POOL
from flexsearch.schedule.shape import TokenGrid


def _compute(tokens: Tokens, call: Call) -> Tokens:
    """Queries and keys drop out: every token receives the projected mean value, of its frame, then of its place."""
    moved, text = tokens.dense, call.text
    for block, modulation in zip(call.blocks, call.modulations, strict=True):
        moved = block.enter(moved, call.operation)
        mixed = call.module(partial(_pool, block, moved, modulation, call.operation.queries))
        moved = block.finish(modulation.gate_mixer * mixed + moved, modulation, text, call.module)
        text = None  # read by the first block alone
    return Tokens(moved)


def _pool(block: TransformerBlock, tokens: Tensor, modulation: Modulation, grid: TokenGrid) -> Tensor:
    return block.pool(block.normed(tokens, modulation), grid)


register_role_module(RoleModule(role=POOL.name, compute=_compute))
