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
from torch import Tensor

from flexsearch.models.architectures.z_image import MULTIPLE, shape_of
from flexsearch.models.backbones.attention import projected_out
from flexsearch.models.backbones.backbone import Backbone, Opened
from flexsearch.models.backbones.call import Call
from flexsearch.models.backbones.joint import JointBlock, logit_bias, read
from flexsearch.models.backbones.modulation import Caption, Conditioning, given
from flexsearch.models.backbones.packed import places_of
from flexsearch.models.backbones.patches import unpatchify
from flexsearch.models.backbones.rotary import complex_table, rotated
from flexsearch.schedule.shape import TokenGrid


class ZModulation(NamedTuple):
    """Vectors of a block, (B, 1, C) each; gates are in (-1, 1)."""

    scale_mixer: Tensor
    gate_mixer: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


class ZImageBackbone(Backbone):
    """A `ZImageTransformer2DModel`, taken apart."""

    base_class = ZImageTransformer2DModel
    shape_of = staticmethod(shape_of)
    reads = ("encoder_hidden_states", "encoder_attention_mask")
    processors: ClassVar = {"attention": "ZSingleStreamAttnProcessor"}
    is_called_by_keyword = False
    rewrites_text = True

    def take_apart(self) -> list["ZImageBlock"]:
        return [ZImageBlock(block) for block in self.base.layers]

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

    def embed(self, sample: Tensor) -> Tensor:
        (embedder,), patch = self.base.all_x_embedder.values(), self.shape.patch_size
        patches = sample.unflatten(3, (-1, patch)).unflatten(2, (-1, patch)).permute(0, 2, 4, 3, 5, 1)
        tokens: Tensor = embedder(patches.flatten(3).flatten(1, 2))
        return tokens

    def open(
        self,
        sample: Tensor,
        timestep: Tensor,
        condition: Mapping[str, Any],
        caption: Caption | None,
        blocks: Sequence[int],
    ) -> Opened:
        assert caption is not None, "it is a base that rewrites text"
        embedding = self.base.t_embedder((1000 - timestep) / 1000 * self.base.t_scale).type_as(sample)
        tokens = self.embed(sample)
        num, batch = tokens.shape[1], sample.shape[0]
        padding = self.base.x_pad_token.expand(batch, -num % MULTIPLE, -1).to(tokens.dtype)

        order = torch.arange(caption.tokens.shape[1], device=sample.device)[None]
        is_read = caption.bias
        after = torch.full((1, 1), order.shape[1], device=sample.device) if is_read is None else is_read.sum(-1)[:, 0]
        places = places_of(self.grid_of(sample, condition), sample.device) + _on_first_axis(after + 1)  # (1 or B, N, 3)
        of_padding = torch.zeros(1, padding.shape[1], 3, device=sample.device)
        of_padding = of_padding.expand(places.shape[0], -1, -1)
        of_text = _on_first_axis(order + 1).expand(places.shape[0], -1, -1)
        table = self.rotary(torch.cat([places, of_padding], dim=1))
        refined = torch.cat([tokens, padding], dim=1)
        for block in self.base.noise_refiner:
            refined = block(refined, None, table, embedding)
        tokens, padding = refined[:, :num], refined[:, num:]

        modulations = {block: _modulation_of(self.base.layers[block], embedding) for block in blocks}
        if is_read is not None:
            ones = torch.ones(is_read.shape[0], 1, 1, padding.shape[1], dtype=torch.bool, device=sample.device)
            is_read = torch.cat([ones, is_read], dim=-1)
        return Opened(
            tokens,
            Conditioning(embedding, modulations),
            Caption(torch.cat([padding, caption.tokens], dim=1), is_read),
            places,
            self.rotary(torch.cat([of_padding, of_text], dim=1)),
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
        (final,) = self.base.all_final_layer.values()
        return -unpatchify(final(tokens, c=conditioning.embedding), grid, self.shape.patch_size)


class ZImageBlock(JointBlock):
    """A `ZImageTransformerBlock`: norms before and after attention and MLP."""

    def __init__(self, block: Any) -> None:
        super().__init__(block, block.attention)

    def run(
        self, queries: Tensor, keys: Tensor | None, context: Tensor | None, call: Call
    ) -> tuple[Tensor, Tensor | None]:
        """Do what `Call.run` says; its conditioning is a `ZModulation`."""
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

    def _attention(self, normed: Tensor, others: Tensor, num: int, call: Call) -> Tensor:
        query, key, value = self.projected(normed, others)
        query, key = (
            rotated(rows, torch.cat([places.rotary, call.text_rotary], dim=1))
            for rows, places in ((query, call.queries), (key, call.keys))
        )
        m = key.shape[1] - (normed.shape[1] - num)
        is_read = None if call.text is None else call.text.bias
        bias = logit_bias(key[:, :m], key[:, m:], weight=call.keys.weight, is_read=is_read, text_first=False)
        return projected_out(self.attention, read(query, key, value, bias))


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
