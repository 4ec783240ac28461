"""From projected tokens back to pixels. Letters: B batch, n tokens of one image, C output channels, P patch side."""

import torch
from torch import Tensor

from flexsearch.schedule.shape import TokenGrid


def unpatchify(tokens: Tensor, grid: TokenGrid, patch_size: int) -> Tensor:
    """(B, n, P * P * C) -> (B, C, H, W) for the tokens of an image, or of a frame, on `grid`."""
    pixels = tokens.unflatten(2, (patch_size, patch_size, -1)).unflatten(1, (grid.height, grid.width))
    return torch.einsum("nhwpqc->nchpwq", pixels).flatten(4, 5).flatten(2, 3)
