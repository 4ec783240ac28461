"""Tokens of two densities, and the way from one to the other.

Letters: B batch, N dense tokens, M sparse tokens, S text tokens, C width.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from flexsearch.schedule.shape import TokenGrid


class Tokens(NamedTuple):
    """What travels through the blocks: (B, N, C) dense tokens, which wait while (B, M, C) sparse ones are worked on,
    and (B, S, C) text tokens, where blocks rewrite them, which are never pooled."""

    dense: Tensor
    sparse: Tensor | None = None
    context: Tensor | None = None

    def scaled(self, factor: float) -> "Tokens":
        """Multiply all tokens by a factor."""
        return Tokens(*(None if tokens is None else tokens * factor for tokens in self))  # type: ignore[arg-type]

    def moved_from(self, before: "Tokens") -> tuple[Tensor, ...]:
        """Give what blocks added to the dense tokens `before` and, where they rewrite text that is read again, to
        it."""
        dense = self.dense - before.dense
        if self.context is None or before.context is None:
            return (dense,)
        return dense, self.context - before.context

    def moved_by(self, residuals: Sequence[Tensor]) -> "Tokens":
        """Dense tokens and text tokens with what `moved_from` gave added."""
        dense, *of_text = residuals
        context = self.context + of_text[0] if of_text and self.context is not None else None
        return Tokens(self.dense + dense, None, context)


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


def upsample(
    tokens: Tensor, sparse_grid: TokenGrid, grid: TokenGrid, *, mode: Literal["nearest", "bilinear"] = "nearest"
) -> Tensor:
    """(B, M, C) -> (B, N, C): nearest neighbour, or bilinear, in space; nearest in time."""
    maps = F.interpolate(_as_maps(tokens, sparse_grid), size=(grid.height, grid.width), mode=mode)
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
