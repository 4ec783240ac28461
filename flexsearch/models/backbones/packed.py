"""Latents packed to tokens, as diffusers' pipelines of FLUX and Qwen-Image call their transformers.

Letters: B batch, N tokens, H x W latent pixels, P patch side, c channels of the latents.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from flexsearch.models.backbones.backbone import Backbone, Opened
from flexsearch.models.backbones.modulation import Caption, Conditioning
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


class PackedBackbone(Backbone):
    """A base that diffusers' pipelines call with packed latents (B, N, c P P) and the timestep over 1000, flexsearch
    with latents (B, c, H, W) and the scheduler's timestep. The output has the form of the input.

    To `embed` latents come packed, to `conditioning` the time in [0, 1], of the sample's dtype.
    """

    rewrites_text = True

    @abstractmethod
    def places(self, sample: Tensor, condition: Mapping[str, Any], num_text: int) -> tuple[Tensor, Tensor]:
        """(1, N, axes) where image tokens lie, and (1, S, axes) where text tokens do."""

    def timestep_of(self, sample: Tensor, timestep: Tensor) -> Tensor:
        return timestep * 1000 if sample.ndim == 3 else timestep

    def open(
        self,
        sample: Tensor,
        timestep: Tensor,
        condition: Mapping[str, Any],
        caption: Caption | None,
        blocks: Sequence[int],
    ) -> Opened:
        assert caption is not None, "it is a base that rewrites text"
        is_packed, time = sample.ndim == 3, timestep.to(sample.dtype)
        places, of_text = self.places(sample, condition, caption.tokens.shape[1])
        if not is_packed:
            sample, time = packed(sample, self.shape.patch_size), time / 1000
        tokens, conditioning, *_ = super().open(sample, time, condition, caption, blocks)
        return Opened(tokens, conditioning._replace(is_packed=is_packed), caption, places, self.rotary(of_text))

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        projected: Tensor = self.base.proj_out(self.base.norm_out(tokens, conditioning.embedding))
        return projected if conditioning.is_packed else unpacked(projected, grid, self.shape.patch_size)
