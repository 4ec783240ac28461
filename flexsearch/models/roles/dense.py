"""The role `dense`: the base's own block. Letters: B batch, n tokens, C width."""

from typing import Any

from torch import Tensor

from flexsearch.models.backbones.block import TransformerBlock
from flexsearch.models.backbones.modulation import Modulation, Text
from flexsearch.models.roles.role_module import RoleModule, register_role_module
from flexsearch.models.tokens import Tokens
from flexsearch.schedule.families.dense import DENSE
from flexsearch.schedule.role import Operation


def run_block(
    block: TransformerBlock, tokens: Tensor, modulation: Modulation, text: Text | None, operation: Operation
) -> Tensor:
    """(B, n, C) what the base's block makes of the tokens that leave the operation, however many they are."""
    tokens, grid = block.enter(tokens, operation), operation.queries
    normed = block.normed(tokens, modulation)
    mixed = block.attend(normed, normed, query_grid=grid, key_grid=grid)
    return block.finish(modulation.gate_mixer * mixed + tokens, modulation, text)


def run_others(
    blocks: tuple[TransformerBlock, ...], tokens: Tensor, modulations: tuple[Modulation, ...], operation: Operation
) -> Tensor:
    """(B, n, C) what the blocks after the first, which plays the role, make of the tokens that it leaves."""
    for block, modulation in zip(blocks[1:], modulations[1:], strict=True):
        tokens = run_block(block, tokens, modulation, None, operation)
    return tokens


def _compute(
    blocks: tuple[TransformerBlock, ...],
    tokens: Tokens,
    modulations: tuple[Modulation, ...],
    text: Text | None,
    operation: Operation,
    _: Any,
) -> Tokens:
    moved = run_block(blocks[0], tokens.dense, modulations[0], text, operation)
    return Tokens(run_others(blocks, moved, modulations, operation))


register_role_module(RoleModule(role=DENSE.name, compute=_compute))
