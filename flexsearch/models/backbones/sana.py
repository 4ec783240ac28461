"""Adapter of diffusers' `SanaTransformer2DModel` (SANA, Xie et al. 2024, arXiv 2410.10629; SANA 1.5, arXiv 2501.18427).

Letters: B batch, n and m tokens, C width.
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers import SanaTransformer2DModel
from torch import Tensor

from flexsearch.models.architectures.sana import shape_of
from flexsearch.models.backbones.attention import linear_attention
from flexsearch.models.backbones.backbone import Backbone
from flexsearch.models.backbones.block import TransformerBlock, matrix_of
from flexsearch.models.backbones.call import Read
from flexsearch.models.backbones.modulation import Caption, Conditioning, caption_of
from flexsearch.models.backbones.patches import unpatchify
from flexsearch.models.backbones.single import modulated_output, modulations_of
from flexsearch.schedule.shape import TokenGrid


class SanaBlock(TransformerBlock):
    """A block of linear attention, attention to the text, and an MLP that convolves.

    On a sparse grid the convolution reaches as many tokens as on the dense one, so more of the image.
    """

    def attention(self, queries: Tensor, keys: Tensor, read: Read = F.scaled_dot_product_attention) -> Tensor:
        return linear_attention(self.block.attn1, queries, keys, matrix_of(self.fused_projections))

    def mlp(self, tokens: Tensor, grid: TokenGrid) -> Tensor:
        maps = tokens.unflatten(1, (grid.height, grid.width)).permute(0, 3, 1, 2)  # (B, C, height, width)
        output: Tensor = self.block.ff(maps).flatten(2, 3).permute(0, 2, 1)
        return output


class SanaBackbone(Backbone):
    """A `SanaTransformer2DModel`, taken apart. Text is attended to in every block, at the density that it runs at."""

    base_class = SanaTransformer2DModel
    shape_of = staticmethod(shape_of)
    reads = ("encoder_hidden_states", "encoder_attention_mask")
    processors: ClassVar = {"attn1": "SanaLinearAttnProcessor2_0", "attn2": "SanaAttnProcessor2_0"}

    def take_apart(self) -> list[SanaBlock]:
        beside = (self.base.norm_out,)
        return [
            SanaBlock(block, norm_mixer=block.norm1, norm_mlp=block.norm2, beside=() if index else beside)
            for index, block in enumerate(self.base.transformer_blocks)
        ]

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
        return caption_of(lambda states: self.base.caption_norm(self.base.caption_projection(states)), condition, dtype)

    def embed(self, sample: Tensor) -> Tensor:
        tokens: Tensor = self.base.patch_embed(sample)
        return tokens

    def conditioning(
        self, timestep: Tensor, condition: Mapping[str, Any], dtype: torch.dtype, blocks: Sequence[int]
    ) -> Conditioning:
        shared, embedding = self.base.time_embed(timestep, batch_size=timestep.shape[0], hidden_dtype=dtype)
        return Conditioning(embedding, modulations_of(shared, self.base.transformer_blocks, blocks))

    @staticmethod
    def embedded(pipeline: Any, prompt: str, *, max_tokens: int) -> tuple[Tensor, None]:
        """(L, D) of a prompt, by a `SanaPipeline`, whose own instruction precedes all but the empty one."""
        asked = signature(type(pipeline).__call__).parameters["complex_human_instruction"].default
        states, mask, *_ = pipeline.encode_prompt(
            prompt,
            do_classifier_free_guidance=False,
            max_sequence_length=max_tokens,
            complex_human_instruction=asked if prompt else None,
        )
        return states[0, mask[0].bool()], None

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        projected = modulated_output(self.base, self.base.norm_out.norm(tokens), conditioning.embedding)
        return unpatchify(projected, grid, self.shape.patch_size)
