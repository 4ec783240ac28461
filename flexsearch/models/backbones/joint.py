"""Attention in which text and image share a softmax, and the block with a stream for each (MMDiT, arXiv 2403.03206).

SD3, FLUX and Qwen-Image have such blocks. Where image tokens are pooled, a key stands for w of them, and its logit gets
log w: else text would gain weight by the pooling alone. Letters: B batch, n and m image tokens, S text tokens, C width.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flexsearch.models.backbones.attention import projected_out, projections
from flexsearch.models.backbones.call import Call, Pair
from flexsearch.models.backbones.fused import FusedLinears
from flexsearch.models.backbones.modulation import Caption, Modulation, Text

TEXT_PROJECTIONS = ("add_q_proj", "add_k_proj", "add_v_proj")
Rotate = Callable[[Tensor, Any], Tensor]
"""Rotates queries or keys (B, n, heads, C / heads) by a rotary table."""


class TextModulation(NamedTuple):
    """Of text tokens that no block reads again: they are keys and values alone, (B, 1, C) each."""

    shift_mixer: Tensor
    scale_mixer: Tensor


class SecondMixer(NamedTuple):
    """adaLN's vectors for a second attention, of image tokens alone, (B, 1, C) each."""

    shift: Tensor
    scale: Tensor
    gate: Tensor


class JointModulation(NamedTuple):
    """adaLN's vectors of both streams for one block."""

    image: Modulation
    text: Modulation | TextModulation
    second: SecondMixer | None = None


class Stream(NamedTuple):
    """The modules of one stream; one whose tokens are not read again has no MLP."""

    norm_mixer: nn.Module
    norm_mlp: nn.Module | None
    mlp: nn.Module | None


def modulation_of(linear: nn.Module, activated: Tensor) -> Modulation:
    """Give adaLN-Zero's six vectors from an activated embedding (B, C)."""
    return Modulation(*(vector[:, None] for vector in linear(activated).chunk(6, dim=1)))


def logit_bias(image: Tensor, text: Tensor, *, weight: float, is_read: Any, text_first: bool) -> Tensor | None:
    """Give what is added to the logits of all keys, (1 or B, 1, 1, m + S): log w for image tokens, and minus infinity
    for padding. None where it is nothing; of padding alone, the mask (True where a token is read).

    Args:
        image: (B, m, ...) keys.
        text: (B, S, ...) keys.
        weight: dense tokens that an image key stands for.
        is_read: (B, 1, 1, S) bool, or None for all.
        text_first: order of the keys.
    """
    m, num_text = image.shape[1], text.shape[1]
    if weight == 1.0:
        if is_read is None:
            return None
        of_image = torch.ones(is_read.shape[0], 1, 1, m, dtype=torch.bool, device=image.device)
        return torch.cat([is_read, of_image] if text_first else [of_image, is_read], dim=-1)
    of_text = torch.zeros(1, 1, 1, num_text, dtype=image.dtype, device=image.device)
    if is_read is not None:
        of_text = of_text.masked_fill(~is_read, -math.inf)
    of_image = torch.full((of_text.shape[0], 1, 1, m), math.log(weight), dtype=image.dtype, device=image.device)
    return torch.cat([of_text, of_image] if text_first else [of_image, of_text], dim=-1)


def read(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """(B, n, C) softmax attention of (B, n, heads, C / heads) to (B, m, heads, C / heads)."""
    found = F.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=bias
    )
    return found.transpose(1, 2).flatten(2)


def by_head(attention: Any, rows: tuple[Tensor, ...], *, norms: tuple[str, str]) -> list[Tensor]:
    """Queries, keys and values as (B, n, heads, C / heads), the first two normed where the base does."""
    query, key, value = (one.unflatten(-1, (attention.heads, -1)) for one in rows)
    of_query, of_key = (getattr(attention, name) for name in norms)
    return [query if of_query is None else of_query(query), key if of_key is None else of_key(key), value]


def unrotated(rows: Tensor, _: Any) -> Tensor:
    """Leave queries or keys as they are."""
    return rows


class JointBlock:
    """What blocks with joint attention have in common. Holds no own weights.

    Args:
        block: diffusers' block.
        attention: its attention.
        taken_apart: further modules of it that are never called, only what they hold.
    """

    def __init__(self, block: nn.Module, attention: nn.Module, *, taken_apart: tuple[nn.Module, ...] = ()) -> None:
        self.block: Any = block
        self.attention: Any = attention
        self.taken_apart = (block, attention, *taken_apart)
        self._fused: FusedLinears | None = None

    def text_of(self, caption: Caption) -> Text:
        """Nothing: text passes through the block."""
        raise AssertionError("blocks with joint attention rewrite text")

    def fuse(self) -> list[FusedLinears]:
        """Multiply one input by one matrix from now on: queries, keys and values."""
        self._fused = FusedLinears(self.attention, [(self.attention, name) for name in ("to_q", "to_k", "to_v")])
        return [self._fused]

    def projected(self, queries: Tensor, keys: Tensor) -> list[Tensor]:
        """Queries, keys and values by head, of normed tokens."""
        fused = None if self._fused is None else self._fused.matrix
        return by_head(self.attention, projections(self.attention, queries, keys, fused), norms=("norm_q", "norm_k"))


class DoubleStreamBlock(JointBlock):
    """A block of diffusers with joint attention, a stream of image tokens and one of text tokens.

    Args:
        block: diffusers' block.
        image: modules of the image's stream.
        text: of the text's.
        taken_apart: modules that are never called, beside block and attention.
        text_first: whether text stands before the image in the softmax.
        rotate: by places.
    """

    def __init__(
        self,
        block: Any,
        *,
        image: Stream,
        text: Stream,
        taken_apart: tuple[nn.Module, ...] = (),
        text_first: bool = True,
        rotate: Rotate = unrotated,
    ) -> None:
        self.second: Any = getattr(block, "attn2", None)
        second = () if self.second is None else (self.second,)
        super().__init__(block, block.attn, taken_apart=(*second, *taken_apart))
        self.image = image
        self.text = text
        self.text_first = text_first
        self.rotate = rotate
        self._fused_text: FusedLinears | None = None

    def run(
        self, queries: Tensor, keys: Tensor | None, context: Tensor | None, call: Call
    ) -> tuple[Tensor, Tensor | None]:
        """Do what `Call.run` says; its conditioning is a `JointModulation`. Text tokens attend to all text, and to the
        image tokens that the image's do."""
        assert context is not None, "the block before passes text on"
        modulation: JointModulation = call.conditioning
        of_image, of_text = modulation.image, modulation.text

        def attend() -> Pair:
            image, others = self._normed(queries, keys, of_image.shift_mixer, of_image.scale_mixer)
            text = self.text.norm_mixer(context) * (1 + of_text.scale_mixer) + of_text.shift_mixer
            return self._attention(image, others, text, call, is_pooled=keys is None)

        mixed, mixed_text = (
            call.module.pair(attend) if self.text.mlp is not None else (call.module(lambda: attend()[0]), None)
        )
        tokens = queries + of_image.gate_mixer * mixed
        if modulation.second is not None:
            second = modulation.second
            tokens = tokens + second.gate * call.module(lambda: self._second(queries, keys, second))
        tokens = tokens + self._mlp(self.image, tokens, of_image, call)
        if mixed_text is None:
            return tokens, None
        assert isinstance(of_text, Modulation)
        context = context + of_text.gate_mixer * mixed_text
        context = context + self._mlp(self.text, context, of_text, call)
        return in_range(tokens), in_range(context)

    def fuse(self) -> list[FusedLinears]:
        """Multiply one input by one matrix from now on: queries, keys and values, of image and of text."""
        of_text = [(self.attention, name) for name in TEXT_PROJECTIONS]
        self._fused_text = FusedLinears(self.attention.add_q_proj, of_text)
        return [*super().fuse(), self._fused_text]

    def _normed(self, queries: Tensor, keys: Tensor | None, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Modulated queries and keys; the mean of the queries where there are no keys."""
        image = self.image.norm_mixer(queries) * (1 + scale) + shift
        if keys is None:
            return image, image.mean(dim=1, keepdim=True)
        return image, image if keys is queries else self.image.norm_mixer(keys) * (1 + scale) + shift

    def _attention(self, image: Tensor, others: Tensor, text: Tensor, call: Call, *, is_pooled: bool) -> Pair:
        attention, key_places = self.attention, call.mean if is_pooled else call.keys
        query, key, value = self.projected(image, others)
        fused = None if self._fused_text is None else self._fused_text.matrix
        text_rows = projections(attention, text, text, fused, names=TEXT_PROJECTIONS)
        text_query, text_key, text_value = by_head(attention, text_rows, norms=("norm_added_q", "norm_added_k"))
        query, key = self.rotate(query, call.queries.rotary), self.rotate(key, key_places.rotary)
        text_query, text_key = (self.rotate(one, call.text_rotary) for one in (text_query, text_key))
        is_read = None if call.text is None else call.text.bias
        bias = logit_bias(key, text_key, weight=key_places.weight, is_read=is_read, text_first=self.text_first)
        query, key, value = (
            torch.cat([of_text, of_image] if self.text_first else [of_image, of_text], dim=1)
            for of_text, of_image in ((text_query, query), (text_key, key), (text_value, value))
        )
        found = read(query, key, value, bias)
        num_text = text.shape[1]
        if self.text_first:
            mixed_text, mixed = found[:, :num_text].contiguous(), found[:, num_text:].contiguous()
        else:
            mixed, mixed_text = found[:, : image.shape[1]], found[:, image.shape[1] :]
        if self.text.mlp is not None:
            mixed_text = attention.to_add_out(mixed_text)
        return projected_out(attention, mixed), mixed_text

    def _second(self, queries: Tensor, keys: Tensor | None, modulation: SecondMixer) -> Tensor:
        """Attention of image tokens alone."""
        image, others = self._normed(queries, keys, modulation.shift, modulation.scale)
        if keys is None:  # weights are uniform
            return projected_out(self.second, self.second.to_v(others))
        rows = projections(self.second, image, others, None)
        query, key, value = by_head(self.second, rows, norms=("norm_q", "norm_k"))
        return projected_out(self.second, read(query, key, value, None))

    def _mlp(self, stream: Stream, tokens: Tensor, modulation: Modulation, call: Call) -> Tensor:
        assert stream.mlp is not None
        assert stream.norm_mlp is not None
        mlp, norm = stream.mlp, stream.norm_mlp
        output: Tensor = modulation.gate_mlp * call.module(
            lambda: mlp(norm(tokens) * (1 + modulation.scale_mlp) + modulation.shift_mlp)
        )
        return output


def in_range(tokens: Tensor) -> Tensor:
    """Tokens within what 16 bits hold, as diffusers' blocks keep them."""
    return tokens.clip(-65504, 65504) if tokens.dtype == torch.float16 else tokens
