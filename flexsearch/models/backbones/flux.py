"""Adapter of diffusers' `FluxTransformer2DModel` (FLUX.1, Black Forest Labs 2024).

First come blocks with a stream each for text and image, then blocks with one stream, whose attention and MLP read the
same tokens. diffusers' pipelines give packed latents with their places. Letters: B batch, N dense tokens, n and m
tokens, S text tokens, C width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.models.architectures.flux import shape_of
from flexsearch.models.backbones.backbone import Block
from flexsearch.models.backbones.call import Call
from flexsearch.models.backbones.joint import (
    DoubleStreamBlock,
    JointBlock,
    JointModulation,
    Stream,
    in_range,
    logit_bias,
    modulation_of,
    read,
)
from flexsearch.models.backbones.modulation import Caption, Conditioning, caption_of, given
from flexsearch.models.backbones.packed import PackedBackbone, places_of
from flexsearch.schedule.shape import TokenGrid


class SingleModulation(NamedTuple):
    """adaLN's vectors of a block with one stream, (B, 1, C) each."""

    shift: Tensor
    scale: Tensor
    gate: Tensor


class FluxBackbone(PackedBackbone):
    """A `FluxTransformer2DModel`, taken apart."""

    base_class = FluxTransformer2DModel
    shape_of = staticmethod(shape_of)
    reads = ("encoder_hidden_states", "pooled_projections", "guidance", "img_ids", "txt_ids")
    processors: ClassVar = {"attn": "FluxAttnProcessor"}

    def take_apart(self) -> list[Block]:
        double = [_double_of(block) for block in self.base.transformer_blocks]
        return [*double, *(SingleStreamBlock(block) for block in self.base.single_transformer_blocks)]

    def grid_of(self, sample: Tensor, condition: Mapping[str, Any]) -> TokenGrid:
        """The grid of latents, or of packed ones by their places, which waits for the device."""
        if sample.ndim == 4:
            return super().grid_of(sample, condition)
        if "img_ids" not in condition:
            raise UserError("is missing: it says where packed latents lie", field="img_ids")
        _, height, width = (int(side) + 1 for side in condition["img_ids"].reshape(-1, 3).amax(dim=0))
        if height * width != sample.shape[1]:
            raise UserError(f"must be of {sample.shape[1]} tokens, but are of {height}x{width}", field="img_ids")
        return TokenGrid(height=height, width=width)

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
        return caption_of(self.base.context_embedder, condition, dtype)

    def embed(self, sample: Tensor) -> Tensor:
        tokens: Tensor = self.base.x_embedder(sample)
        return tokens

    def conditioning(
        self, timestep: Tensor, condition: Mapping[str, Any], dtype: torch.dtype, blocks: Sequence[int]
    ) -> Conditioning:
        pooled = given(condition, "pooled_projections", "pooled embeddings of captions").to(timestep.dtype)
        embedded = [timestep * 1000]
        if self.shape.embeds_guidance:
            embedded.append(given(condition, "guidance", "the scale of guidance").to(timestep.dtype) * 1000)
        embedding = self.base.time_text_embed(*embedded, pooled)
        activated, num_double = F.silu(embedding), len(self.base.transformer_blocks)
        modulations: dict[int, Any] = {}
        for block in blocks:
            if block < num_double:
                own = self.base.transformer_blocks[block]
                modulations[block] = JointModulation(
                    modulation_of(own.norm1.linear, activated), modulation_of(own.norm1_context.linear, activated)
                )
            else:
                linear = self.base.single_transformer_blocks[block - num_double].norm.linear
                modulations[block] = SingleModulation(*(one[:, None] for one in linear(activated).chunk(3, dim=1)))
        return Conditioning(embedding, modulations)

    def places(self, sample: Tensor, condition: Mapping[str, Any], num_text: int) -> tuple[Tensor, Tensor]:
        of_image, of_text = (_ids(condition.get(name)) for name in ("img_ids", "txt_ids"))
        if of_image is None:
            of_image = places_of(self.grid_of(sample, condition), sample.device)
        if of_text is None:
            of_text = torch.zeros(1, num_text, 3, device=sample.device)
        return of_image, of_text

    @staticmethod
    def embedded(pipeline: Any, prompt: str, *, max_tokens: int) -> tuple[Tensor, Tensor]:
        """(S, D) and (P,) of a prompt, by a `FluxPipeline`: T5, and CLIP's pooled vector."""
        tokens, pooled, _ = pipeline.encode_prompt(prompt, prompt, max_sequence_length=max_tokens)
        return tokens[0], pooled[0]

    def rotary(self, places: Tensor) -> tuple[Tensor, Tensor]:
        table: tuple[Tensor, Tensor] = self.base.pos_embed(places[0])
        return table


class SingleStreamBlock(JointBlock):
    """A `FluxSingleTransformerBlock`: text and image tokens as one sequence."""

    def __init__(self, block: Any) -> None:
        super().__init__(block, block.attn, taken_apart=(block.norm,))

    def run(
        self, queries: Tensor, keys: Tensor | None, context: Tensor | None, call: Call
    ) -> tuple[Tensor, Tensor | None]:
        """Do what `Call.run` says; its conditioning is a `SingleModulation`."""
        assert context is not None, "the block before passes text on"
        modulation: SingleModulation = call.conditioning
        num_text = context.shape[1]
        tokens = torch.cat([context, queries], dim=1)

        def compute() -> Tensor:
            normed = self.block.norm.norm(tokens) * (1 + modulation.scale) + modulation.shift
            hidden = self.block.act_mlp(self.block.proj_mlp(normed))
            mixed = self._attention(normed, keys, queries, num_text, call)
            output: Tensor = self.block.proj_out(torch.cat([mixed, hidden], dim=2))
            return output

        moved = in_range(tokens + modulation.gate * call.module(compute))
        return moved[:, num_text:], moved[:, :num_text]

    def _attention(self, normed: Tensor, keys: Tensor | None, queries: Tensor, num_text: int, call: Call) -> Tensor:
        modulation: SingleModulation = call.conditioning
        places = call.mean if keys is None else call.keys
        if keys is queries:
            others = normed
        else:
            if keys is None:
                image = normed[:, num_text:].mean(dim=1, keepdim=True)
            else:
                image = self.block.norm.norm(keys) * (1 + modulation.scale) + modulation.shift
            others = torch.cat([normed[:, :num_text], image], dim=1)
        query, key, value = self.projected(normed, others)
        query = rotated(query, joined(call.text_rotary, call.queries.rotary))
        key = rotated(key, joined(call.text_rotary, places.rotary))
        bias = logit_bias(key[:, num_text:], key[:, :num_text], weight=places.weight, is_read=None, text_first=True)
        return read(query, key, value, bias)


def rotated(rows: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys (B, n, heads, C / heads), rotated."""
    found: Tensor = apply_rotary_emb(rows, table, sequence_dim=1)
    return found


def joined(text: tuple[Tensor, Tensor], image: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The rotary table of text and image tokens, in this order."""
    return torch.cat([text[0], image[0]]), torch.cat([text[1], image[1]])


def _ids(ids: Tensor | None) -> Tensor | None:
    """(1, n, 3) places as pipelines give them, (n, 3) or, in older ones, a batch of the same."""
    return None if ids is None else ids.reshape(-1, *ids.shape[-2:])[:1].float()


def _double_of(block: Any) -> DoubleStreamBlock:
    return DoubleStreamBlock(
        block,
        image=Stream(block.norm1.norm, block.norm2, block.ff),
        text=Stream(block.norm1_context.norm, block.norm2_context, block.ff_context),
        taken_apart=(block.norm1, block.norm1_context),
        rotate=rotated,
    )
