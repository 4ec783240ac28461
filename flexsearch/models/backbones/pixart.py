"""Adapter of diffusers' `PixArtTransformer2DModel` (PixArt-alpha, Chen et al. 2023, arXiv 2310.00426)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import PixArtTransformer2DModel
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.models.architectures.pixart import shape_of
from flexsearch.models.backbones.block import TransformerBlock, fuse_projections
from flexsearch.models.backbones.fused import FusedLinears
from flexsearch.models.backbones.modulation import Caption, Conditioning
from flexsearch.models.backbones.patches import unpatchify
from flexsearch.models.backbones.protocol import Opened
from flexsearch.models.backbones.single import caption_of, modulated_output, modulations_of
from flexsearch.schedule.shape import TokenGrid


class PixArtBackbone:
    """A `PixArtTransformer2DModel`, taken apart. Text is attended to in every block, at the density that it runs at."""

    base_class: ClassVar[Any] = PixArtTransformer2DModel
    reads: ClassVar[tuple[str, ...]] = ("encoder_hidden_states", "encoder_attention_mask", "resolution", "aspect_ratio")
    rewrites_text: ClassVar[bool] = False

    def __init__(self, base: PixArtTransformer2DModel, *, tied: bool | None = None) -> None:
        self.base = base
        self.tied = False
        self.tied_copies: list[tuple[str, str]] = []
        self.shape = shape_of(base.config)
        self.blocks = [
            TransformerBlock(block, norm_mixer=block.norm1, norm_mlp=block.norm2) for block in base.transformer_blocks
        ]

    def grid_of(self, sample: Tensor, condition: Mapping[str, Tensor]) -> TokenGrid:
        height, width = sample.shape[-2:]
        return TokenGrid(height=height // self.shape.patch_size, width=width // self.shape.patch_size)

    def timestep_of(self, sample: Tensor, timestep: Tensor) -> Tensor:
        return timestep

    def open(
        self,
        sample: Tensor,
        timestep: Tensor,
        condition: Mapping[str, Tensor],
        caption: Caption | None,
        blocks: Sequence[int],
    ) -> Opened:
        tokens = self.embed(sample)
        return Opened(tokens, self.conditioning(timestep, condition, tokens.dtype, blocks))

    def rotary(self, places: Tensor) -> None:
        return None

    def embed(self, sample: Tensor) -> Tensor:
        tokens: Tensor = self.base.pos_embed(sample)
        return tokens

    def conditioning(
        self, timestep: Tensor, condition: Mapping[str, Tensor], dtype: torch.dtype, blocks: Sequence[int]
    ) -> Conditioning:
        sizes = {name: condition.get(name) for name in ("resolution", "aspect_ratio")}
        if self.shape.reads_size and None in sizes.values():
            raise UserError("is missing: this base reads sizes", field="added_cond_kwargs.resolution, aspect_ratio")
        shared, embedding = self.base.adaln_single(timestep, sizes, batch_size=timestep.shape[0], hidden_dtype=dtype)
        modulations = modulations_of(shared, [self.base.transformer_blocks[block] for block in blocks])
        return Conditioning(embedding=embedding, modulations=dict(zip(blocks, modulations, strict=True)))

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
        return caption_of(self.base.caption_projection, condition, dtype)

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        projected = modulated_output(self.base, tokens, conditioning.embedding)
        return unpatchify(projected, height=grid.height, width=grid.width, patch_size=self.shape.patch_size)

    def fuse(self) -> list[FusedLinears]:
        return fuse_projections(self.blocks)
