"""Adapter of diffusers' `SanaTransformer2DModel` (SANA, Xie et al. 2024, arXiv 2410.10629; SANA 1.5, arXiv 2501.18427).

Letters: B batch, n and m tokens, C width.
"""

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, ClassVar

import torch
from diffusers import SanaTransformer2DModel
from torch import Tensor

from flexsearch.models.architectures.sana import shape_of
from flexsearch.models.backbones.attention import linear_attention
from flexsearch.models.backbones.block import TransformerBlock, fuse_projections, matrix_of
from flexsearch.models.backbones.fused import FusedLinears
from flexsearch.models.backbones.modulation import Caption, Conditioning
from flexsearch.models.backbones.patches import unpatchify
from flexsearch.models.backbones.protocol import Opened
from flexsearch.models.backbones.single import caption_of, modulations_of
from flexsearch.schedule.shape import TokenGrid


class SanaBlock(TransformerBlock):
    """A block of linear attention, attention to the text, and an MLP that convolves.

    On a sparse grid the convolution reaches as many tokens as on the dense one, so more of the image.
    """

    def attention(self, queries: Tensor, keys: Tensor) -> Tensor:
        return linear_attention(self.block.attn1, queries, keys, matrix_of(self.fused_projections))

    def mlp(self, tokens: Tensor, grid: TokenGrid) -> Tensor:
        maps = tokens.unflatten(1, (grid.height, grid.width)).permute(0, 3, 1, 2)  # (B, C, height, width)
        output: Tensor = self.block.ff(maps).flatten(2, 3).permute(0, 2, 1)
        return output


class SanaBackbone:
    """A `SanaTransformer2DModel`, taken apart. Text is attended to in every block, at the density that it runs at."""

    base_class: ClassVar[Any] = SanaTransformer2DModel
    reads: ClassVar[tuple[str, ...]] = ("encoder_hidden_states", "encoder_attention_mask")
    rewrites_text: ClassVar[bool] = False

    def __init__(self, base: SanaTransformer2DModel, *, tied: bool | None = None) -> None:
        self.base = base
        self.tied = False
        self.tied_copies: list[tuple[str, str]] = []
        self.shape = shape_of(base.config)
        self.blocks = [
            SanaBlock(block, norm_mixer=block.norm1, norm_mlp=block.norm2, beside=() if index else (base.norm_out,))
            for index, block in enumerate(base.transformer_blocks)
        ]

    def grid_of(self, sample: Tensor, condition: Mapping[str, Any]) -> TokenGrid:
        height, width = sample.shape[-2:]
        return TokenGrid(height=height // self.shape.patch_size, width=width // self.shape.patch_size)

    def timestep_of(self, sample: Tensor, timestep: Tensor) -> Tensor:
        return timestep

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
        return caption_of(lambda states: self.base.caption_norm(self.base.caption_projection(states)), condition, dtype)

    def open(
        self,
        sample: Tensor,
        timestep: Tensor,
        condition: Mapping[str, Any],
        caption: Caption | None,
        blocks: Sequence[int],
    ) -> Opened:
        tokens = self.embed(sample)
        shared, embedding = self.base.time_embed(timestep, batch_size=len(timestep), hidden_dtype=tokens.dtype)
        modulations = modulations_of(shared, [self.base.transformer_blocks[block] for block in blocks])
        return Opened(tokens, Conditioning(embedding, dict(zip(blocks, modulations, strict=True))))

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

    def embed(self, sample: Tensor) -> Tensor:
        """(B, N, C) dense tokens."""
        tokens: Tensor = self.base.patch_embed(sample)
        return tokens

    def rotary(self, places: Tensor) -> None:
        return None

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        base = self.base
        shift, scale = (base.scale_shift_table[None] + conditioning.embedding[:, None]).chunk(2, dim=1)
        projected = base.proj_out(base.norm_out.norm(tokens) * (1 + scale) + shift)
        return unpatchify(projected, height=grid.height, width=grid.width, patch_size=self.shape.patch_size)

    def fuse(self) -> list[FusedLinears]:
        return fuse_projections(self.blocks)
