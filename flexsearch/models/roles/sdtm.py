"""The roles of a sparse-dense token module (FlexDiT, arXiv 2412.06028, section 3.2).

Letters: B batch, N dense tokens, M sparse tokens, C width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from flexsearch.models.backbones.block import TransformerBlock
from flexsearch.models.backbones.modulation import Modulation, Text
from flexsearch.models.roles.dense import run_block, run_others
from flexsearch.models.roles.role_module import RoleModule, register_role_module
from flexsearch.models.tokens import Tokens, downsample, upsample
from flexsearch.schedule.families.sdtm import MERGE, RECOVER, SPARSE
from flexsearch.schedule.role import Operation
from flexsearch.schedule.shape import TokenGrid, TransformerShape


class Merge(nn.Module):
    """The only new weights of a module: `Up(W1 sparse) + b1 + W2 dense + b2`.

    Starts as the identity on the dense tokens (W1 = 0, W2 = I). W1 runs before the upsampling, which is exact and costs
    M instead of N products.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sparse = nn.Linear(width, width)
        self.dense = nn.Linear(width, width)
        with torch.no_grad():
            self.sparse.weight.zero_()
            self.dense.weight.copy_(torch.eye(width))
            self.sparse.bias.zero_()
            self.dense.bias.zero_()

    def forward(self, sparse: Tensor, dense: Tensor, *, sparse_grid: TokenGrid, grid: TokenGrid) -> Tensor:
        """(B, M, C) sparse and (B, N, C) dense tokens to (B, N, C) merged ones."""
        merged: Tensor = upsample(self.sparse(sparse), sparse_grid, grid) + self.dense(dense)  # (B, N, C)
        return merged


def _attend(
    block: TransformerBlock,
    tokens: Tensor,
    others: Tensor,
    modulation: Modulation,
    text: Text | None,
    operation: Operation,
) -> Tensor:
    """Tokens on the operation's `queries` attend to `others` on its `keys`; one adaLN modulates both."""
    mixed = block.attend(
        block.normed(tokens, modulation),
        block.normed(others, modulation),
        query_grid=operation.queries,
        key_grid=operation.keys,
    )
    return block.finish(modulation.gate_mixer * mixed + tokens, modulation, text)


def _merge(
    blocks: tuple[TransformerBlock, ...],
    tokens: Tokens,
    modulations: tuple[Modulation, ...],
    text: Text | None,
    operation: Operation,
    _: Any,
) -> Tokens:
    """Sparse token generation: averaged tokens, or those of the merge before, attend to the dense ones."""
    dense, sparse = tokens
    sparse = downsample(dense, operation.keys, operation.queries) if sparse is None else sparse
    moved = _attend(blocks[0], sparse, dense, modulations[0], text, operation)
    return Tokens(dense, run_others(blocks, moved, modulations, operation))


def _sparse(
    blocks: tuple[TransformerBlock, ...],
    tokens: Tokens,
    modulations: tuple[Modulation, ...],
    text: Text | None,
    operation: Operation,
    _: Any,
) -> Tokens:
    """The base's block on the sparse tokens; the dense ones wait."""
    assert tokens.sparse is not None, "it follows a merge"
    moved = run_block(blocks[0], tokens.sparse, modulations[0], text, operation)
    return Tokens(tokens.dense, run_others(blocks, moved, modulations, operation))


def _recover(
    blocks: tuple[TransformerBlock, ...],
    tokens: Tokens,
    modulations: tuple[Modulation, ...],
    text: Text | None,
    operation: Operation,
    weights: Merge,
) -> Tokens:
    """Dense token recovery: merged dense tokens attend to the sparse ones."""
    assert tokens.sparse is not None, "it follows a merge"
    merged = weights(tokens.sparse, tokens.dense, sparse_grid=operation.keys, grid=operation.queries)
    moved = _attend(blocks[0], merged, tokens.sparse, modulations[0], text, operation)
    return Tokens(run_others(blocks, moved, modulations, operation))


def _weights(shape: TransformerShape) -> Merge:
    return Merge(shape.width)


register_role_module(RoleModule(role=MERGE.name, compute=_merge))
register_role_module(RoleModule(role=SPARSE.name, compute=_sparse))
register_role_module(RoleModule(role=RECOVER.name, compute=_recover, weights=_weights, collection="merges"))
