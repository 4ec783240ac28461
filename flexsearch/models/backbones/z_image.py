"""Adapter of diffusers' `ZImageTransformer2DModel` (Z-Image, 2025, arXiv 2511.22699).

Image and text tokens are one sequence. Before the blocks, two of each kind refine them apart; these stay dense, and the
text's, which read no time, run once per image. Image and text are padded to multiples of 32 tokens; the image's padding
travels with the text. flexsearch calls the model with latents (B, channels, H, W) and the scheduler's timestep; the
base reads 1 - t and gives the negated velocity. Letters: B batch, N dense tokens, n tokens, S text tokens, C width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from diffusers import ZImageTransformer2DModel
from torch import Tensor, nn

from flexsearch.models.architectures.z_image import MULTIPLE, shape_of
from flexsearch.models.backbones.attention import projections
from flexsearch.models.backbones.block import fuse_projections
from flexsearch.models.backbones.call import Call
from flexsearch.models.backbones.fused import FusedLinears
from flexsearch.models.backbones.joint import by_head, given, logit_bias, projected_out, read
from flexsearch.models.backbones.modulation import Caption, Conditioning, Text
from flexsearch.models.backbones.packed import places_of
from flexsearch.models.backbones.patches import unpatchify
from flexsearch.models.backbones.protocol import Opened
from flexsearch.models.backbones.rotary import complex_table, rotated
from flexsearch.schedule.shape import TokenGrid


class ZModulation(NamedTuple):
    """Vectors of a block, (B, 1, C) each; gates are in (-1, 1)."""

    scale_mixer: Tensor
    gate_mixer: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


class ZImageBackbone:
    """A `ZImageTransformer2DModel`, taken apart."""

    base_class: ClassVar[Any] = ZImageTransformer2DModel
    reads: ClassVar[tuple[str, ...]] = ("encoder_hidden_states", "encoder_attention_mask")
    rewrites_text: ClassVar[bool] = True

    def __init__(self, base: ZImageTransformer2DModel, *, tied: bool | None = None) -> None:
        self.base = base
        self.tied = False
        self.tied_copies: list[tuple[str, str]] = []
        self.shape = shape_of(base.config)
        self.blocks = [ZImageBlock(block) for block in base.layers]
        ((self._embedder, self._final),) = zip(base.all_x_embedder.values(), base.all_final_layer.values(), strict=True)

    def grid_of(self, sample: Tensor, condition: Mapping[str, Any]) -> TokenGrid:
        height, width = sample.shape[-2:]
        return TokenGrid(height=height // self.shape.patch_size, width=width // self.shape.patch_size)

    def timestep_of(self, sample: Tensor, timestep: Tensor) -> Tensor:
        return timestep

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
        """Embedded and refined; whole multiples of 32 tokens of a row are read."""
        states, mask = (
            given(condition, "encoder_hidden_states", "captions").to(dtype),
            condition.get("encoder_attention_mask"),
        )
        missing = -states.shape[1] % MULTIPLE
        tokens = self.base.cap_embedder(torch.cat([states, states[:, -1:].expand(-1, missing, -1)], dim=1))
        order = torch.arange(tokens.shape[1], device=states.device)[None]  # (1, S)
        lengths = (
            torch.full((1, 1), states.shape[1], device=states.device) if mask is None else mask.sum(1, keepdim=True)
        )
        tokens = torch.where((order >= lengths)[..., None], self.base.cap_pad_token, tokens)
        is_read = None if mask is None else order < _padded(lengths)
        table = self.rotary(_on_first_axis(order + 1))
        for block in self.base.context_refiner:
            tokens = block(tokens, is_read, table)
        return Caption(tokens=tokens, bias=None if is_read is None else is_read[:, None, None])

    def open(
        self,
        sample: Tensor,
        timestep: Tensor,
        condition: Mapping[str, Any],
        caption: Caption | None,
        blocks: Sequence[int],
    ) -> Opened:
        assert caption is not None, "it is a base that rewrites text"
        grid, patch = self.grid_of(sample, condition), self.shape.patch_size
        embedding = self.base.t_embedder((1000 - timestep) / 1000 * self.base.t_scale).type_as(sample)
        patches = sample.unflatten(3, (-1, patch)).unflatten(2, (-1, patch)).permute(0, 2, 4, 3, 5, 1)
        tokens = self._embedder(patches.flatten(3).flatten(1, 2))  # (B, N, C)
        num, batch = tokens.shape[1], len(sample)
        padding = self.base.x_pad_token.expand(batch, -num % MULTIPLE, -1).to(tokens.dtype)

        order = torch.arange(caption.tokens.shape[1], device=sample.device)[None]
        is_read = caption.bias
        after = torch.full((1, 1), order.shape[1], device=sample.device) if is_read is None else is_read.sum(-1)[:, 0]
        places = places_of(grid, sample.device) + _on_first_axis(after + 1)  # (1 or B, N, 3)
        of_padding = torch.zeros(1, padding.shape[1], 3, device=sample.device)
        table = self.rotary(torch.cat([places, of_padding.expand(len(places), -1, -1)], dim=1))
        refined = torch.cat([tokens, padding], dim=1)
        for block in self.base.noise_refiner:
            refined = block(refined, None, table, embedding)
        tokens, padding = refined[:, :num], refined[:, num:]

        modulations = {block: _modulation_of(self.base.layers[block], embedding) for block in blocks}
        if is_read is not None:
            ones = torch.ones(len(is_read), 1, 1, padding.shape[1], dtype=torch.bool, device=sample.device)
            is_read = torch.cat([ones, is_read], dim=-1)
        return Opened(
            tokens,
            Conditioning(embedding=embedding, modulations=modulations),
            Caption(torch.cat([padding, caption.tokens], dim=1), is_read),
            places,
            self.rotary(torch.cat([of_padding, _on_first_axis(order + 1)], dim=1)),
        )

    @staticmethod
    def embedded(pipeline: Any, prompt: str, *, max_tokens: int) -> tuple[Tensor, None]:
        """(L, D) of a prompt, by a `ZImagePipeline`."""
        (tokens,), _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=max_tokens)
        return tokens, None

    def rotary(self, places: Tensor) -> Tensor:
        rope = self.base.rope_embedder
        return complex_table(places, rope.axes_dims, theta=rope.theta, dtype=torch.float64)

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        projected = self._final(tokens, c=conditioning.embedding)
        return -unpatchify(projected, height=grid.height, width=grid.width, patch_size=self.shape.patch_size)

    def fuse(self) -> list[FusedLinears]:
        return fuse_projections(self.blocks)


class ZImageBlock:
    """A `ZImageTransformerBlock`: norms before and after attention and MLP. Holds no own weights."""

    def __init__(self, block: nn.Module) -> None:
        self.block: Any = block
        self._fused: FusedLinears | None = None

    @property
    def taken_apart(self) -> tuple[nn.Module, ...]:
        """The modules of the block that are never called, only what they hold."""
        return (self.block, self.block.attention)

    def run(
        self, queries: Tensor, keys: Tensor | None, context: Tensor | None, call: Call
    ) -> tuple[Tensor, Tensor | None]:
        """What `Call.run` says; its conditioning is a `ZModulation`."""
        assert context is not None, "the block before passes text on"
        modulation: ZModulation = call.conditioning
        block, num = self.block, queries.shape[1]
        tokens = torch.cat([queries, context], dim=1)

        def attend() -> Tensor:
            normed = block.attention_norm1(tokens) * modulation.scale_mixer
            if keys is queries:
                return self._attention(normed, normed, num, call)
            if keys is None:
                others, places = normed[:, :num].mean(dim=1, keepdim=True), call.mean
            else:
                others, places = block.attention_norm1(keys) * modulation.scale_mixer, call.keys
            return self._attention(normed, torch.cat([others, normed[:, num:]], dim=1), num, call._replace(keys=places))

        tokens = tokens + modulation.gate_mixer * block.attention_norm2(call.module(attend))
        hidden = call.module(lambda: block.feed_forward(block.ffn_norm1(tokens) * modulation.scale_mlp))
        moved = tokens + modulation.gate_mlp * block.ffn_norm2(hidden)
        return moved[:, :num], moved[:, num:]

    def text_of(self, caption: Caption) -> Text:
        """Nothing: text passes through the block."""
        raise AssertionError("blocks with joint attention rewrite text")

    def fuse(self) -> list[FusedLinears]:
        """Multiply one input by one matrix from now on: queries, keys and values."""
        attention = self.block.attention
        self._fused = FusedLinears(attention, [(attention, name) for name in ("to_q", "to_k", "to_v")])
        return [self._fused]

    def _attention(self, normed: Tensor, others: Tensor, num: int, call: Call) -> Tensor:
        attention, num_text = self.block.attention, normed.shape[1] - num
        fused = None if self._fused is None else self._fused.matrix
        query, key, value = by_head(
            attention, projections(attention, normed, others, fused), norms=("norm_q", "norm_k")
        )
        query = rotated(query, _with_text(call.queries.rotary, call.text_rotary))
        key = rotated(key, _with_text(call.keys.rotary, call.text_rotary))
        m = key.shape[1] - num_text
        is_read = None if call.text is None else call.text.bias
        bias = logit_bias(key[:, :m], key[:, m:], weight=call.keys.weight, is_read=is_read, text_first=False)
        return projected_out(attention, read(query, key, value, bias))


def _modulation_of(block: Any, embedding: Tensor) -> ZModulation:
    scale_mixer, gate_mixer, scale_mlp, gate_mlp = block.adaLN_modulation(embedding).unsqueeze(1).chunk(4, dim=2)
    return ZModulation(1.0 + scale_mixer, gate_mixer.tanh(), 1.0 + scale_mlp, gate_mlp.tanh())


def _padded(lengths: Tensor) -> Tensor:
    """Lengths up to the next multiple of 32."""
    return (lengths + MULTIPLE - 1) // MULTIPLE * MULTIPLE


def _on_first_axis(values: Tensor) -> Tensor:
    """(R, n) -> (R, n, 3) places on the first of three axes."""
    zeros = torch.zeros_like(values)
    return torch.stack([values, zeros, zeros], dim=-1).float()


def _with_text(image: Tensor, text: Tensor) -> Tensor:
    """The rotary table of image and text tokens, in this order, for as many rows as either has."""
    rows = max(len(image), len(text))
    return torch.cat([image.expand(rows, -1, -1), text.expand(rows, -1, -1)], dim=1)
