"""Adapter of diffusers' `WanTransformer3DModel` (Wan, 2025, arXiv 2503.20314).

Letters: B batch, n and m tokens, C width, F frames, H x W tokens of a frame, D channels of a head, P patch side.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from flexsearch.errors import UserError
from flexsearch.models.architectures.wan import shape_of
from flexsearch.models.backbones.attention import attention, uniform_attention
from flexsearch.models.backbones.backbone import Backbone, Opened
from flexsearch.models.backbones.block import TransformerBlock, matrix_of
from flexsearch.models.backbones.call import Call
from flexsearch.models.backbones.modulation import Caption, Conditioning, Modulation, caption_of
from flexsearch.models.backbones.rotary import real_table
from flexsearch.models.backbones.single import modulations_of
from flexsearch.schedule.shape import TokenGrid

_THETA = 10000.0
"""Base of the rotary frequencies."""


class WanBlock(TransformerBlock):
    """A block whose attention mixes all frames; it normalises, modulates and adds in fp32, whatever its weights are."""

    def run(
        self, queries: Tensor, keys: Tensor | None, context: Tensor | None, call: Call
    ) -> tuple[Tensor, Tensor | None]:
        """Do what `Call.run` says; its conditioning is a `Modulation`. Text tokens are not rewritten."""
        modulation: Modulation = call.conditioning

        def mix() -> Tensor:
            normed = self.normed(queries, modulation)
            if keys is None:
                return uniform_attention(self.block.attn1, normed.mean(dim=1, keepdim=True))
            others = normed if keys is queries else self.normed(keys, modulation)
            rotary = (call.queries.rotary, call.keys.rotary)
            return attention(self.block.attn1, normed, others, matrix_of(self.fused_projections), rotary, call.read)

        def read() -> Tensor:
            assert call.text is not None, "it reads text"
            return self.attend_to(self.block.norm2(tokens.float()).type_as(tokens), call.text)

        tokens = (queries.float() + call.module(mix) * modulation.gate_mixer).type_as(queries)
        tokens = tokens + call.module(read)
        inside = call.module(partial(self._mlp_of, tokens, modulation)).float()
        return (tokens.float() + inside * modulation.gate_mlp).type_as(tokens), context

    def normed(self, tokens: Tensor, modulation: Modulation) -> Tensor:
        return _modulated(self.norm_mixer, tokens, modulation.shift_mixer, modulation.scale_mixer)

    def _mlp_of(self, tokens: Tensor, modulation: Modulation) -> Tensor:
        output: Tensor = self.block.ffn(_modulated(self.norm_mlp, tokens, modulation.shift_mlp, modulation.scale_mlp))
        return output


class WanBackbone(Backbone):
    """A `WanTransformer3DModel`, taken apart. Text is attended to in every block, at the density that it runs at."""

    base_class = WanTransformer3DModel
    shape_of = staticmethod(shape_of)
    reads = ("encoder_hidden_states",)
    processors: ClassVar = {"attn1": "WanAttnProcessor", "attn2": "WanAttnProcessor"}

    def take_apart(self) -> list[WanBlock]:
        beside = (self.base.condition_embedder, self.base.rope)
        return [
            WanBlock(block, norm_mixer=block.norm1, norm_mlp=block.norm3, beside=() if index else beside)
            for index, block in enumerate(self.base.blocks)
        ]

    def timestep_of(self, sample: Tensor, timestep: Tensor) -> Tensor:
        if timestep.ndim != 1:
            raise UserError(
                f"must be one for every video (B,), but got {tuple(timestep.shape)}: a time of its own for every "
                "token is for images that begin a video (WanPipeline's expand_timesteps)",
                field="timestep",
            )
        return timestep

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
        return caption_of(self.base.condition_embedder.text_embedder, condition, dtype)

    def open(
        self,
        sample: Tensor,
        timestep: Tensor,
        condition: Mapping[str, Any],
        caption: Caption | None,
        blocks: Sequence[int],
    ) -> Opened:
        opened = super().open(sample, self.timestep_of(sample, timestep), condition, caption, blocks)
        grid = self.grid_of(sample, condition)
        axes = [torch.arange(side, device=sample.device) for side in (grid.frames, grid.height, grid.width)]
        return opened._replace(places=torch.cartesian_prod(*axes)[None].float())  # (1, N, 3)

    def conditioning(
        self, timestep: Tensor, condition: Mapping[str, Any], dtype: torch.dtype, blocks: Sequence[int]
    ) -> Conditioning:
        embedder = self.base.condition_embedder
        features = embedder.timesteps_proj(timestep).to(next(embedder.time_embedder.parameters()).dtype)
        embedding = embedder.time_embedder(features).to(dtype)  # (B, C)
        shared = embedder.time_proj(embedder.act_fn(embedding)).float()  # (B, 6C)
        return Conditioning(embedding, modulations_of(shared, self.base.blocks, blocks))

    @staticmethod
    def embedded(pipeline: Any, prompt: str, *, max_tokens: int) -> tuple[Tensor, None]:
        """(L, D) of a prompt, by a `WanPipeline`, whose padding is zeros."""
        states, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=max_tokens)
        return states[0, states[0].any(dim=-1)], None

    def embed(self, sample: Tensor) -> Tensor:
        tokens: Tensor = self.base.patch_embedding(sample).flatten(2).transpose(1, 2).contiguous()
        return tokens

    def rotary(self, places: Tensor) -> tuple[Tensor, Tensor]:
        rope = self.base.rope
        return real_table(places, (rope.t_dim, rope.h_dim, rope.w_dim), theta=_THETA)

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        base, patch = self.base, self.shape.patch_size
        shift, scale = (base.scale_shift_table + conditioning.embedding[:, None]).chunk(2, dim=1)
        projected = base.proj_out(_modulated(base.norm_out, tokens, shift, scale))  # (B, N, P * P * out_channels)
        patches = projected.unflatten(2, (patch, patch, -1)).unflatten(1, (grid.frames, grid.height, grid.width))
        video: Tensor = torch.einsum("bfhwpqc->bcfhpwq", patches).flatten(5, 6).flatten(3, 4)
        return video


def _modulated(norm: nn.Module, tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    modulated: Tensor = (norm(tokens.float()) * (1 + scale) + shift).type_as(tokens)
    return modulated
