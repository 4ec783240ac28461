"""Tokens of two densities, and the way from one to the other.

Letters: B batch, N dense tokens, M sparse tokens, C width.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from flexsearch.schedule.shape import TokenGrid


class Tokens(NamedTuple):
    """What travels through the blocks: (B, N, C) dense tokens, which wait while (B, M, C) sparse ones are worked on."""

    dense: Tensor
    sparse: Tensor | None = None

    def scaled(self, factor: float) -> "Tokens":
        """Multiply all tokens by a factor."""
        return Tokens(self.dense * factor, None if self.sparse is None else self.sparse * factor)


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
