"""Adapter of diffusers' `PixArtTransformer2DModel` (PixArt-alpha, Chen et al. 2023, arXiv 2310.00426)."""

from collections.abc import Mapping, Sequence

import torch
from diffusers import PixArtTransformer2DModel
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.models.architectures.pixart import shape_of
from flexsearch.models.backbones.backbone import Backbone
from flexsearch.models.backbones.block import TransformerBlock
from flexsearch.models.backbones.modulation import Caption, Conditioning, caption_of
from flexsearch.models.backbones.patches import unpatchify
from flexsearch.models.backbones.single import modulated_output, modulations_of
from flexsearch.schedule.shape import TokenGrid


class PixArtBackbone(Backbone):
    """A `PixArtTransformer2DModel`, taken apart. Text is attended to in every block, at the density that it runs at."""

    base_class = PixArtTransformer2DModel
    shape_of = staticmethod(shape_of)
    reads = ("encoder_hidden_states", "encoder_attention_mask", "resolution", "aspect_ratio")

    def take_apart(self) -> list[TransformerBlock]:
        blocks = self.base.transformer_blocks
        return [TransformerBlock(block, norm_mixer=block.norm1, norm_mlp=block.norm2) for block in blocks]

    def conditioning(
        self, timestep: Tensor, condition: Mapping[str, Tensor], dtype: torch.dtype, blocks: Sequence[int]
    ) -> Conditioning:
        sizes = {name: condition.get(name) for name in ("resolution", "aspect_ratio")}
        if self.shape.reads_size and None in sizes.values():
            raise UserError("is missing: this base reads sizes", field="added_cond_kwargs.resolution, aspect_ratio")
        shared, embedding = self.base.adaln_single(timestep, sizes, batch_size=timestep.shape[0], hidden_dtype=dtype)
        return Conditioning(embedding, modulations_of(shared, self.base.transformer_blocks, blocks))

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
        return caption_of(self.base.caption_projection, condition, dtype)

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        projected = modulated_output(self.base, self.base.norm_out(tokens), conditioning.embedding)
        return unpatchify(projected, grid, self.shape.patch_size)
