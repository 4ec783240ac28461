"""Adapter of diffusers' `SD3Transformer2DModel` (Stable Diffusion 3 and 3.5, Esser et al. 2024, arXiv 2403.03206).

Letters: B batch, N dense tokens, S text tokens, C width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers import SD3Transformer2DModel
from torch import Tensor

from flexsearch.models.architectures.sd3 import shape_of
from flexsearch.models.backbones.backbone import Backbone
from flexsearch.models.backbones.joint import (
    DoubleStreamBlock,
    JointModulation,
    SecondMixer,
    Stream,
    TextModulation,
    modulation_of,
)
from flexsearch.models.backbones.modulation import Caption, Conditioning, Modulation, caption_of, given
from flexsearch.models.backbones.patches import unpatchify
from flexsearch.schedule.shape import TokenGrid


class SD3Backbone(Backbone):
    """An `SD3Transformer2DModel`, taken apart. The last block's text is dropped; SD3.5-medium's first blocks have a
    second attention, of image tokens alone."""

    base_class = SD3Transformer2DModel
    shape_of = staticmethod(shape_of)
    reads = ("encoder_hidden_states", "pooled_projections")
    processors: ClassVar = {"attn": "JointAttnProcessor2_0", "attn2": "JointAttnProcessor2_0"}
    rewrites_text = True

    def take_apart(self) -> list[DoubleStreamBlock]:
        return [_block_of(block) for block in self.base.transformer_blocks]

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
        return caption_of(self.base.context_embedder, condition, dtype)

    @staticmethod
    def embedded(pipeline: Any, prompt: str, *, max_tokens: int) -> tuple[Tensor, Tensor]:
        """(S, D) and (P,) of a prompt, by a `StableDiffusion3Pipeline`: two CLIPs of 77 tokens, and T5."""
        of_clip = pipeline.tokenizer_max_length
        tokens, _, pooled, _ = pipeline.encode_prompt(
            prompt, prompt, prompt, do_classifier_free_guidance=False, max_sequence_length=max_tokens - of_clip
        )
        return tokens[0], pooled[0]

    def embed(self, sample: Tensor) -> Tensor:
        tokens: Tensor = self.base.pos_embed(sample).contiguous()
        return tokens

    def conditioning(
        self, timestep: Tensor, condition: Mapping[str, Any], dtype: torch.dtype, blocks: Sequence[int]
    ) -> Conditioning:
        pooled = given(condition, "pooled_projections", "pooled embeddings of captions")
        embedding = self.base.time_text_embed(timestep, pooled.to(dtype))
        activated = F.silu(embedding)
        modulations = {block: _modulation_of(self.base.transformer_blocks[block], activated) for block in blocks}
        return Conditioning(embedding, modulations)

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        projected = self.base.proj_out(self.base.norm_out(tokens, conditioning.embedding))
        return unpatchify(projected, grid, self.shape.patch_size)


def _block_of(block: Any) -> DoubleStreamBlock:
    return DoubleStreamBlock(
        block,
        image=Stream(block.norm1.norm, block.norm2, block.ff),
        text=Stream(block.norm1_context.norm, block.norm2_context, block.ff_context),
        taken_apart=(block.norm1, block.norm1_context),
        text_first=False,
    )


def _modulation_of(block: Any, activated: Tensor) -> JointModulation:
    vectors = [one[:, None] for one in block.norm1.linear(activated).chunk(9 if block.use_dual_attention else 6, dim=1)]
    image, second = Modulation(*vectors[:6]), SecondMixer(*vectors[6:]) if block.use_dual_attention else None
    if not block.context_pre_only:
        return JointModulation(image, modulation_of(block.norm1_context.linear, activated), second)
    scale, shift = (one[:, None] for one in block.norm1_context.linear(activated).chunk(2, dim=1))
    return JointModulation(image, TextModulation(shift, scale), second)
