"""Latents packed to tokens, as diffusers' pipelines of FLUX and Qwen-Image call their transformers.

Letters: B batch, N tokens, H x W latent pixels, P patch side, c channels of the latents.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.schedule.shape import TokenGrid


def packed(latents: Tensor, patch_size: int) -> Tensor:
    """(B, c, H, W) -> (B, N, c P P)."""
    patches = latents.unflatten(3, (-1, patch_size)).unflatten(2, (-1, patch_size))  # (B, c, h, P, w, P)
    tokens: Tensor = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    return tokens


def unpacked(tokens: Tensor, grid: TokenGrid, patch_size: int) -> Tensor:
    """(B, N, c P P) -> (B, c, H, W) for tokens on `grid`."""
    patches = tokens.unflatten(2, (-1, patch_size, patch_size)).unflatten(1, (grid.height, grid.width))
    latents: Tensor = patches.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    return latents


def places_of(grid: TokenGrid, device: torch.device, *, origin: tuple[int, int] = (0, 0)) -> Tensor:
    """(1, N, 3): 0, row and column of every token, counted from the one at `origin`. Made on the device."""
    rows = torch.arange(grid.height, device=device) - origin[0]
    columns = torch.arange(grid.width, device=device) - origin[1]
    placed = torch.stack([rows[:, None].expand(-1, grid.width), columns[None].expand(grid.height, -1)], dim=-1)
    return F.pad(placed.flatten(0, 1)[None].float(), (1, 0))


def grid_of_packed(sample: Tensor, condition: Mapping[str, Any], *, patch_size: int) -> TokenGrid:
    """Give the grid of latents, or of packed ones by the places `img_ids`, which waits for the device.

    Raises:
        UserError: packed latents come without their places, or these are of other tokens.
    """
    if sample.ndim == 4:
        height, width = sample.shape[-2:]
        return TokenGrid(height=height // patch_size, width=width // patch_size)
    if "img_ids" not in condition:
        raise UserError("is missing: it says where packed latents lie", field="img_ids")
    _, height, width = (int(side) + 1 for side in condition["img_ids"].reshape(-1, 3).amax(dim=0))
    if height * width != sample.shape[1]:
        raise UserError(f"must be of {sample.shape[1]} tokens, but are of {height}x{width}", field="img_ids")
    return TokenGrid(height=height, width=width)
