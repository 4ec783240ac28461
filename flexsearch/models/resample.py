"""Learned resampling between token grids: each source token owns a Gaussian, by which it reaches the places around it.

Source: LeRF (arXiv 2407.09935), where a network gives every source pixel `(rho, sx, sy)` of the weight

    exp(-1/2 ((sx dx)^2 - 2 rho (sx dx) (sy dy) + (sy dy)^2))

at a place `(dx, dy)` away, normalised over the sources, with `rho` in (-1, 1) and `s` in (0, 10). Where we depart: one
linear map of the tokens gives the three; distances are in cells of the sparse grid; all sources of a frame are summed
over, not the nearest 4 x 4, so that it is one matrix product; and what is learned is blended into the fixed operator:
`fixed + tau (G tokens - fixed)`. `tau` starts at 0, which is the fixed operator to the bit, and Gaussians one cell
wide. Rows of `G` sum to 1: constant maps stay constant, and a linear map of the channels may run before it.
Letters: B batch, F frames, S source tokens, T places, C width.
"""

import math

import torch
from torch import Tensor, nn

from flexsearch.models.tokens import downsample, upsample
from flexsearch.schedule.shape import TokenGrid

_SHARPEST = 10.0
"""Limit of `s`, per cell of the sparse grid."""


class Resampler(nn.Module):
    """One operator, from dense to sparse tokens or back: 3 C + 4 parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gaussian = nn.Linear(width, 3)
        self.tau = nn.Parameter(torch.zeros(1))
        with torch.no_grad():
            self.gaussian.weight.zero_()
            one_cell = math.log(1 / (_SHARPEST - 1))  # 10 sigmoid(.) = 1
            self.gaussian.bias.copy_(torch.tensor([0.0, one_cell, one_cell]))

    def down(self, dense: Tensor, grid: TokenGrid, sparse_grid: TokenGrid) -> Tensor:
        """(B, N, C) -> (B, M, C): around their average. Frames are averaged as they are."""
        framed = TokenGrid(frames=grid.frames, height=sparse_grid.height, width=sparse_grid.width)
        found = self.weights(dense, grid, framed) @ _frames(dense, grid)
        found = downsample(_joined(found, framed), framed, sparse_grid)
        return self._blended(downsample(dense, grid, sparse_grid), found)

    def up(self, values: Tensor, sparse_grid: TokenGrid, grid: TokenGrid, *, sparse: Tensor) -> Tensor:
        """(B, M, C) -> (B, N, C) of what a linear map made of the `sparse` tokens: around their nearest neighbours."""
        framed = TokenGrid(frames=sparse_grid.frames, height=grid.height, width=grid.width)
        found = self.weights(sparse, sparse_grid, framed) @ _frames(values, sparse_grid)
        found = upsample(_joined(found, framed), framed, grid)
        return self._blended(upsample(values, sparse_grid, grid), found)

    def weights(self, tokens: Tensor, source: TokenGrid, places: TokenGrid) -> Tensor:
        """(B F, T, S) how much every place takes of every source token of its frame.

        Args:
            tokens: (B, F S, C) on `source`.
            source: their grid.
            places: grid over the same area, with as many frames.
        """
        correlation, *sharpness = self.gaussian(_frames(tokens, source)).float()[:, None].unbind(-1)  # (B F, 1, S)
        down, across = (_SHARPEST * one.sigmoid() for one in sharpness)
        dy, dx = offsets(source, places, device=tokens.device, dtype=down.dtype)  # (T, S)
        y, x = down * dy, across * dx
        distances = y.square() + x.square() - 2 * (2 * correlation.sigmoid() - 1) * y * x
        weights: Tensor = (-0.5 * distances).softmax(dim=-1).to(tokens.dtype)
        return weights

    def _blended(self, fixed: Tensor, found: Tensor) -> Tensor:
        return fixed + self.tau * (found - fixed)


def offsets(source: TokenGrid, places: TokenGrid, **options: object) -> tuple[Tensor, Tensor]:
    """Give (T, S) distances from source tokens to places, down and across, in cells of the coarser of the two grids.

    Args:
        source: grid of the tokens.
        places: grid over the same area.
        options: device and dtype.
    """
    sides = ((source.height, places.height), (source.width, places.width))
    along = []
    for num, num_places in sides:
        centres, at = ((torch.arange(one, **options) + 0.5) / one for one in (num, num_places))  # type: ignore[call-overload]
        along.append((at[:, None] - centres) * min(num, num_places))
    down = along[0][:, None, :, None].expand(-1, places.width, -1, source.width)
    across = along[1][None, :, None, :].expand(places.height, -1, source.height, -1)
    return down.flatten(2).flatten(0, 1), across.flatten(2).flatten(0, 1)


def _frames(tokens: Tensor, grid: TokenGrid) -> Tensor:
    """(B, F S, C) -> (B F, S, C)."""
    return tokens.reshape(-1, grid.height * grid.width, tokens.shape[-1])


def _joined(tokens: Tensor, grid: TokenGrid) -> Tensor:
    """(B F, T, C) -> (B, F T, C)."""
    joined: Tensor = tokens.unflatten(0, (-1, grid.frames)).flatten(1, 2)
    return joined
