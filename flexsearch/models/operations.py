"""What a block does in each role. Source: FlexDiT (arXiv 2412.06028), section 3.2; equations in docs/architecture.md.

Letters: B batch, N dense tokens, M sparse tokens, C width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flexsearch.models.backbones.protocol import BackboneBlock
from flexsearch.schedule.grid import TokenGrid


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
        merged: Tensor = upsample(self.sparse(sparse), sparse_grid, grid) + self.dense(dense)  # (B, N, C)
        return merged


def downsample(tokens: Tensor, grid: TokenGrid, sparse_grid: TokenGrid) -> Tensor:
    """(B, N, C) -> (B, M, C): adaptive average pooling in space; M's sides need not divide N's."""
    pooled = F.adaptive_avg_pool2d(_as_maps(tokens, grid), (sparse_grid.height, sparse_grid.width))
    return _as_tokens(pooled, grid.frames)


def upsample(tokens: Tensor, sparse_grid: TokenGrid, grid: TokenGrid) -> Tensor:
    """(B, M, C) -> (B, N, C): nearest neighbour in space."""
    maps = F.interpolate(_as_maps(tokens, sparse_grid), size=(grid.height, grid.width), mode="nearest")
    return _as_tokens(maps, grid.frames)


def _as_maps(tokens: Tensor, grid: TokenGrid) -> Tensor:
    batch, _, width = tokens.shape
    return tokens.reshape(batch * grid.frames, grid.height, grid.width, width).permute(0, 3, 1, 2)


def _as_tokens(maps: Tensor, frames: int) -> Tensor:
    rows, width, height, columns = maps.shape
    return maps.permute(0, 2, 3, 1).reshape(rows // frames, frames * height * columns, width)


def dense(block: BackboneBlock, tokens: Tensor, conditioning: Tensor) -> Tensor:
    """The base's own block, on however many tokens it is given."""
    modulation = block.modulation(conditioning)
    normed = block.normed(tokens, modulation)
    tokens = modulation.gate_mixer * block.attend(normed, normed) + tokens
    return block.after_mixer(tokens, modulation)


def pool(block: BackboneBlock, tokens: Tensor, conditioning: Tensor) -> Tensor:
    """Attention with uniform weights, so queries and keys drop out: every token receives the projected mean value."""
    modulation = block.modulation(conditioning)
    mixed = block.pool(block.normed(tokens, modulation))  # (B, 1, C)
    return block.after_mixer(modulation.gate_mixer * mixed + tokens, modulation)


def merge(block: BackboneBlock, sparse: Tensor, tokens: Tensor, conditioning: Tensor) -> Tensor:
    """Sparse token generation: the sparse tokens attend to the dense ones; one adaLN modulates both."""
    modulation = block.modulation(conditioning)
    mixed = block.attend(block.normed(sparse, modulation), block.normed(tokens, modulation))
    return block.after_mixer(modulation.gate_mixer * mixed + sparse, modulation)


def recover(block: BackboneBlock, merged: Tensor, sparse: Tensor, conditioning: Tensor) -> Tensor:
    """Dense token recovery: the merged dense tokens attend to the sparse ones."""
    modulation = block.modulation(conditioning)
    mixed = block.attend(block.normed(merged, modulation), block.normed(sparse, modulation))
    return block.after_mixer(modulation.gate_mixer * mixed + merged, modulation)
