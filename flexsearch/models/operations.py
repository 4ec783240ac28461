"""What a block does in each role. Source: FlexDiT (arXiv 2412.06028), section 3.2; equations in docs/architecture.md.

Letters: B batch, N dense tokens, M sparse tokens, C width.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flexsearch.models.backbones.block import TransformerBlock
from flexsearch.models.backbones.modulation import Modulation, Text
from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.plan import Operation


class Merge(nn.Module):
    """The only new weights of a sparse-dense module: `Up(W1 sparse) + b1 + W2 dense + b2`.

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


def downsample(tokens: Tensor, grid: TokenGrid, sparse_grid: TokenGrid) -> Tensor:
    """(B, N, C) -> (B, M, C): adaptive average pooling in space (M's sides need not divide N's), then the mean of the
    frames that each sparse frame stands for."""
    pooled = F.adaptive_avg_pool2d(_as_maps(tokens, grid), (sparse_grid.height, sparse_grid.width))
    sparse = _as_tokens(pooled, grid.frames)
    if sparse_grid.frames == grid.frames:
        return sparse
    windows = sparse.unflatten(1, (sparse_grid.frames, grid.frames // sparse_grid.frames, -1))
    averaged: Tensor = windows.mean(dim=2).flatten(1, 2)
    return averaged


def upsample(tokens: Tensor, sparse_grid: TokenGrid, grid: TokenGrid) -> Tensor:
    """(B, M, C) -> (B, N, C): nearest neighbour in space and time."""
    maps = F.interpolate(_as_maps(tokens, sparse_grid), size=(grid.height, grid.width), mode="nearest")
    dense = _as_tokens(maps, sparse_grid.frames)
    if sparse_grid.frames == grid.frames:
        return dense
    frames = dense.unflatten(1, (sparse_grid.frames, -1))
    repeated: Tensor = frames.repeat_interleave(grid.frames // sparse_grid.frames, dim=1).flatten(1, 2)
    return repeated


def _as_maps(tokens: Tensor, grid: TokenGrid) -> Tensor:
    batch, _, width = tokens.shape
    return tokens.reshape(batch * grid.frames, grid.height, grid.width, width).permute(0, 3, 1, 2)


def _as_tokens(maps: Tensor, frames: int) -> Tensor:
    rows, width, height, columns = maps.shape
    return maps.permute(0, 2, 3, 1).reshape(rows // frames, frames * height * columns, width)


def dense(
    block: TransformerBlock, tokens: Tensor, modulation: Modulation, text: Text | None, operation: Operation
) -> Tensor:
    """The base's own block, on the tokens that leave the operation, however many they are."""
    tokens, grid = block.enter(tokens, operation), operation.queries
    normed = block.normed(tokens, modulation)
    mixed = block.attend(normed, normed, query_grid=grid, key_grid=grid)
    return block.finish(modulation.gate_mixer * mixed + tokens, modulation, text)


def pool(
    block: TransformerBlock, tokens: Tensor, modulation: Modulation, text: Text | None, operation: Operation
) -> Tensor:
    """Attention with uniform weights, so queries and keys drop out: every token receives the projected mean value."""
    tokens = block.enter(tokens, operation)
    mixed = block.pool(block.normed(tokens, modulation), operation.queries)
    return block.finish(modulation.gate_mixer * mixed + tokens, modulation, text)


def attend(
    block: TransformerBlock,
    tokens: Tensor,
    others: Tensor,
    modulation: Modulation,
    text: Text | None,
    operation: Operation,
) -> Tensor:
    """Tokens on the operation's `queries` attend to `others` on its `keys`; one adaLN modulates both.

    Sparse tokens that attend to dense ones are the paper's sparse token generation, merged dense tokens that attend to
    sparse ones its dense token recovery.
    """
    mixed = block.attend(
        block.normed(tokens, modulation),
        block.normed(others, modulation),
        query_grid=operation.queries,
        key_grid=operation.keys,
    )
    return block.finish(modulation.gate_mixer * mixed + tokens, modulation, text)


FurtherOperation = Callable[
    [tuple[TransformerBlock, ...], Tensor, tuple[Modulation, ...], Text | None, Operation], Tensor
]
"""Dense tokens to dense tokens (B, N, C), by the transformer blocks that are one block of the plan (two for video) and
their modulations."""

FURTHER: dict[str, FurtherOperation] = {}
"""Operations of the roles that are not the paper's."""


def register_operation(role: str, operation: FurtherOperation) -> None:
    """Says what a role of `flexsearch.schedule.roles.register_role` computes."""
    FURTHER[role] = operation


def run(
    operation: Operation,
    blocks: tuple[TransformerBlock, ...],
    tokens: Tensor,
    sparse: Tensor | None,
    modulations: tuple[Modulation, ...],
    text: Text | None,
    merge: Any = None,
) -> tuple[Tensor, Tensor | None]:
    """One operation on (dense tokens, sparse tokens).

    Between a merge and its recover, dense tokens are frozen. The first of `blocks` plays the role; the others follow
    at the density that it leaves.

    Args:
        operation: what to do.
        blocks: the block of the plan, one or more transformer blocks.
        tokens: (B, N, C) dense tokens.
        sparse: (B, M, C) sparse tokens; None outside a sparse-dense module.
        modulations: one per transformer block.
        text: the caption, where the base reads text.
        merge: the `Merge` of a recover block.
    """
    if operation.kind in FURTHER:
        return FURTHER[operation.kind](blocks, tokens, modulations, text, operation), None
    (first, *others), (modulation, *rest) = blocks, modulations
    follow = pool if operation.kind == "pool" else dense
    match operation.kind:
        case "dense":
            moved = dense(first, tokens, modulation, text, operation)
        case "pool":
            moved = pool(first, tokens, modulation, text, operation)
        case "merge":
            sparse = downsample(tokens, operation.keys, operation.queries) if sparse is None else sparse
            moved = attend(first, sparse, tokens, modulation, text, operation)
        case "sparse":
            assert sparse is not None, "a sparse block follows a merge"
            moved = dense(first, sparse, modulation, text, operation)
        case "recover":
            assert sparse is not None, "a recover block follows a merge"
            merged = merge(sparse, tokens, sparse_grid=operation.keys, grid=operation.queries)
            moved = attend(first, merged, sparse, modulation, text, operation)
    for block, own in zip(others, rest, strict=True):
        moved = follow(block, moved, own, None, operation)
    return (tokens, moved) if operation.kind in ("merge", "sparse") else (moved, None)
