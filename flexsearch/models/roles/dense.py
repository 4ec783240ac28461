"""The role `dense`: the base's own block. Letters: B batch, n tokens, C width."""

from torch import Tensor

from flexsearch.models.backbones.block import TransformerBlock
from flexsearch.models.backbones.modulation import Caption, Modulation, Text
from flexsearch.models.roles.role_module import Call, RoleModule, register_role_module
from flexsearch.models.tokens import Tokens
from flexsearch.schedule.families.dense import DENSE


def run_blocks(tokens: Tensor, call: Call) -> Tensor:
    """(B, n, C) what the base's blocks make of the tokens that leave the operation, however many they are."""
    moved = _run(call.blocks[0], tokens, call.modulations[0], call.text, call)
    return run_others(moved, call)


def run_others(tokens: Tensor, call: Call) -> Tensor:
    """(B, n, C) what the blocks after the first, which plays the role, make of the tokens that it leaves."""
    for block, modulation in zip(call.blocks[1:], call.modulations[1:], strict=True):
        tokens = _run(block, tokens, modulation, None, call)
    return tokens


def _run(
    block: TransformerBlock, tokens: Tensor, modulation: Modulation, text: Text | Caption | None, call: Call
) -> Tensor:
    tokens, grid = block.enter(tokens, call.operation), call.operation.queries

    def attend() -> Tensor:
        normed = block.normed(tokens, modulation)
        return block.attend(normed, normed, query_grid=grid, key_grid=grid)

    return block.finish(modulation.gate_mixer * call.module(attend) + tokens, modulation, text, call.module)


def _compute(tokens: Tokens, call: Call) -> Tokens:
    return Tokens(run_blocks(tokens.dense, call))


register_role_module(RoleModule(role=DENSE.name, compute=_compute))
