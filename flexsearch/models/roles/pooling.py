"""The role `pool`: attention with uniform weights (FlexDiT, arXiv 2412.06028, section 3.2)."""

from typing import Any

from flexsearch.models.backbones.block import TransformerBlock
from flexsearch.models.backbones.modulation import Modulation, Text
from flexsearch.models.roles.role_module import RoleModule, register_role_module
from flexsearch.models.tokens import Tokens
from flexsearch.schedule.families.pooling import POOL
from flexsearch.schedule.role import Operation


def _compute(
    blocks: tuple[TransformerBlock, ...],
    tokens: Tokens,
    modulations: tuple[Modulation, ...],
    text: Text | None,
    operation: Operation,
    _: Any,
) -> Tokens:
    """Queries and keys drop out: every token receives the projected mean value, of its frame, then of its place."""
    moved, caption = tokens.dense, text
    for block, modulation in zip(blocks, modulations, strict=True):
        moved = block.enter(moved, operation)
        mixed = block.pool(block.normed(moved, modulation), operation.queries)
        moved = block.finish(modulation.gate_mixer * mixed + moved, modulation, caption)
        caption = None  # read by the first block alone
    return Tokens(moved)


register_role_module(RoleModule(role=POOL.name, compute=_compute))
