"""Adapter of diffusers' `FluxTransformer2DModel` (FLUX.1, Black Forest Labs 2024).

First come blocks with a stream each for text and image, then blocks with one stream, whose attention and MLP read the
same tokens. diffusers' pipelines call it with latents packed to tokens, (B, N, 4 channels), their places, and the
timestep over 1000; flexsearch with latents (B, channels, H, W) and the scheduler's timestep. The output has the form of
the input. Letters: B batch, N dense tokens, n and m tokens, S text tokens, C width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor, nn

from flexsearch.models.architectures.flux import shape_of
from flexsearch.models.backbones.attention import projections
from flexsearch.models.backbones.block import fuse_projections
from flexsearch.models.backbones.call import Call
from flexsearch.models.backbones.fused import FusedLinears
from flexsearch.models.backbones.joint import (
    DoubleStreamBlock,
    JointModulation,
    Stream,
    by_head,
    caption_of,
    given,
    in_range,
    logit_bias,
    modulation_of,
    read,
)
from flexsearch.models.backbones.modulation import Caption, Conditioning, Text
from flexsearch.models.backbones.packed import grid_of_packed, packed, places_of, unpacked
from flexsearch.models.backbones.protocol import Block, Opened
from flexsearch.schedule.shape import TokenGrid


class SingleModulation(NamedTuple):
    """adaLN's vectors of a block with one stream, (B, 1, C) each."""

    shift: Tensor
    scale: Tensor
    gate: Tensor


class FluxBackbone:
    """A `FluxTransformer2DModel`, taken apart."""

    base_class: ClassVar[Any] = FluxTransformer2DModel
    reads: ClassVar[tuple[str, ...]] = (
        "encoder_hidden_states",
        "pooled_projections",
        "guidance",
        "img_ids",
        "txt_ids",
    )
    rewrites_text: ClassVar[bool] = True

    def __init__(self, base: FluxTransformer2DModel, *, tied: bool | None = None) -> None:
        self.base = base
        self.tied = False
        self.tied_copies: list[tuple[str, str]] = []
        self.shape = shape_of(base.config)
        self.blocks: list[Block] = [_double_of(block) for block in base.transformer_blocks]
        self.blocks += [SingleStreamBlock(block) for block in base.single_transformer_blocks]

    def grid_of(self, sample: Tensor, condition: Mapping[str, Any]) -> TokenGrid:
        return grid_of_packed(sample, condition, patch_size=self.shape.patch_size)

    def timestep_of(self, sample: Tensor, timestep: Tensor) -> Tensor:
        return timestep * 1000 if sample.ndim == 3 else timestep

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
        return caption_of(self.base.context_embedder, condition, dtype)

    def open(
        self,
        sample: Tensor,
        timestep: Tensor,
        condition: Mapping[str, Any],
        caption: Caption | None,
        blocks: Sequence[int],
    ) -> Opened:
        assert caption is not None, "it is a base that rewrites text"
        tokens, is_packed = (sample, True) if sample.ndim == 3 else (packed(sample, self.shape.patch_size), False)
        pooled = given(condition, "pooled_projections", "pooled embeddings of captions").to(sample.dtype)
        time = timestep if is_packed else timestep.to(sample.dtype) / 1000
        embedded = [time.to(sample.dtype) * 1000]
        if self.shape.embeds_guidance:
            embedded.append(given(condition, "guidance", "the scale of guidance").to(sample.dtype) * 1000)
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
        places = _ids(condition.get("img_ids"))
        if places is None:
            places = places_of(self.grid_of(sample, condition), sample.device)
        of_text = _ids(condition.get("txt_ids"))
        if of_text is None:
            of_text = torch.zeros(1, caption.tokens.shape[1], 3, device=sample.device)
        conditioning = Conditioning(embedding=embedding, modulations=modulations, is_packed=is_packed)
        return Opened(self.base.x_embedder(tokens), conditioning, caption, places, self.rotary(of_text))

    @staticmethod
    def embedded(pipeline: Any, prompt: str, *, max_tokens: int) -> tuple[Tensor, Tensor]:
        """(S, D) and (P,) of a prompt, by a `FluxPipeline`: T5, and CLIP's pooled vector."""
        tokens, pooled, _ = pipeline.encode_prompt(prompt, prompt, max_sequence_length=max_tokens)
        return tokens[0], pooled[0]

    def rotary(self, places: Tensor) -> tuple[Tensor, Tensor]:
        table: tuple[Tensor, Tensor] = self.base.pos_embed(places[0])
        return table

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        projected: Tensor = self.base.proj_out(self.base.norm_out(tokens, conditioning.embedding))
        return projected if conditioning.is_packed else unpacked(projected, grid, self.shape.patch_size)

    def fuse(self) -> list[FusedLinears]:
        return fuse_projections(self.blocks)


class SingleStreamBlock:
    """A `FluxSingleTransformerBlock`: text and image tokens as one sequence. Holds no own weights."""

    def __init__(self, block: nn.Module) -> None:
        self.block: Any = block
        self._fused: FusedLinears | None = None

    @property
    def taken_apart(self) -> tuple[nn.Module, ...]:
        """The modules of the block that are never called, only what they hold."""
        return (self.block, self.block.attn, self.block.norm)

    def run(
        self, queries: Tensor, keys: Tensor | None, context: Tensor | None, call: Call
    ) -> tuple[Tensor, Tensor | None]:
        """What `Call.run` says; its conditioning is a `SingleModulation`."""
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

    def text_of(self, caption: Caption) -> Text:
        """Nothing: text passes through the block."""
        raise AssertionError("blocks with joint attention rewrite text")

    def fuse(self) -> list[FusedLinears]:
        """Multiply one input by one matrix from now on: queries, keys, values and the MLP's hidden channels."""
        attention = self.block.attn
        self._fused = FusedLinears(attention, [(attention, name) for name in ("to_q", "to_k", "to_v")])
        return [self._fused]

    def _attention(self, normed: Tensor, keys: Tensor | None, queries: Tensor, num_text: int, call: Call) -> Tensor:
        attention, modulation = self.block.attn, call.conditioning
        places = call.mean if keys is None else call.keys
        if keys is queries:
            others = normed
        else:
            if keys is None:
                image = normed[:, num_text:].mean(dim=1, keepdim=True)
            else:
                image = self.block.norm.norm(keys) * (1 + modulation.scale) + modulation.shift
            others = torch.cat([normed[:, :num_text], image], dim=1)
        fused = None if self._fused is None else self._fused.matrix
        query, key, value = by_head(
            attention, projections(attention, normed, others, fused), norms=("norm_q", "norm_k")
        )
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
