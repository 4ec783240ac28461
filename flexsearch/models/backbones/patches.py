"""From projected tokens back to pixels. Letters: B batch, n tokens of one image, C output channels, P patch side."""

import torch
from torch import Tensor


def unpatchify(tokens: Tensor, *, height: int, width: int, patch_size: int) -> Tensor:
    """(B, n, P * P * C) -> (B, C, H, W) for `height` x `width` tokens."""
    pixels = tokens.unflatten(2, (patch_size, patch_size, -1)).unflatten(1, (height, width))
    return torch.einsum("nhwpqc->nchpwq", pixels).flatten(4, 5).flatten(2, 3)
