"""One transformer block of diffusers, taken apart into the pieces that roles are made of.

Letters: B batch, n and m tokens, C width, F frames.
"""

import copy
from functools import partial
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn

from flexsearch.models.backbones.attention import attention, text_attention, text_of, uniform_attention
from flexsearch.models.backbones.call import Call, Read
from flexsearch.models.backbones.fused import FusedLinears, Matrix
from flexsearch.models.backbones.modulation import Caption, Modulation, Text
from flexsearch.models.backbones.narrow import Kept, NarrowAttention, NarrowBlock, NarrowMlp
from flexsearch.schedule.role import Operation
from flexsearch.schedule.shape import TokenGrid


class TransformerBlock:
    """A `BasicTransformerBlock`: a token mixer, text attention where the base has it, an MLP. Holds no own weights.

    The mixer attends in space: within a frame or, where one side has fewer frames, within the window that a frame of
    the other stands for. The same weights serve every role.

    Args:
        block: diffusers' block.
        norm_mixer: normalisation before the mixer, without modulation.
        norm_mlp: normalisation before the MLP, without modulation.
        beside: modules of the base outside the block that are never called either.
    """

    def __init__(
        self, block: nn.Module, *, norm_mixer: nn.Module, norm_mlp: nn.Module, beside: tuple[nn.Module, ...] = ()
    ) -> None:
        self.block: Any = block
        self.norm_mixer = norm_mixer
        self.norm_mlp = norm_mlp
        self.beside = beside
        self.fused_projections: FusedLinears | NarrowAttention | None = None
        self.fused_text_projections: FusedLinears | None = None

    @property
    def taken_apart(self) -> tuple[nn.Module, ...]:
        """The modules of the block that are never called, only what they hold."""
        inside = (self.block.attn1, self.block.attn2, self.block.norm1)
        return (self.block, *(one for one in inside if one is not None and one is not self.norm_mixer), *self.beside)

    def run(
        self, queries: Tensor, keys: Tensor | None, context: Tensor | None, call: Call
    ) -> tuple[Tensor, Tensor | None]:
        """Do what `Call.run` says; its conditioning is a `Modulation`. Text tokens are not rewritten."""
        modulation: Modulation = call.conditioning
        tokens = self.enter(queries, call.operation)

        def mix() -> Tensor:
            normed = self.normed(tokens, modulation)
            if keys is None:
                return self.pool(normed, call.queries.grid)
            others = normed if keys is queries else self.normed(keys, modulation)
            return self.attend(normed, others, query_grid=call.queries.grid, key_grid=call.keys.grid, read=call.read)

        mixed = modulation.gate_mixer * call.module(mix) + tokens
        return self.finish(mixed, modulation, call), context

    def enter(self, tokens: Tensor, operation: Operation) -> Tensor:
        """(B, n, C) tokens as they come into the block."""
        return tokens

    def normed(self, tokens: Tensor, modulation: Modulation) -> Tensor:
        """(B, n, C) tokens, normalised and modulated for the mixer."""
        normed: Tensor = self.norm_mixer(tokens) * (1 + modulation.scale_mixer) + modulation.shift_mixer
        return normed

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        *,
        query_grid: TokenGrid,
        key_grid: TokenGrid,
        read: Read = F.scaled_dot_product_attention,
    ) -> Tensor:
        """(B, n, C) what normed `queries` read from normed `keys` (B, m, C)."""
        windows = min(query_grid.frames, key_grid.frames)
        if windows == 1:
            return self.attention(queries, keys, read)
        grouped = queries.unflatten(1, (windows, -1)).flatten(0, 1)  # (B * windows, n / windows, C)
        of_keys = grouped if keys is queries else keys.unflatten(1, (windows, -1)).flatten(0, 1)
        mixed: Tensor = self.attention(grouped, of_keys, read).unflatten(0, (-1, windows)).flatten(1, 2)
        return mixed

    def attention(self, queries: Tensor, keys: Tensor, read: Read = F.scaled_dot_product_attention) -> Tensor:
        """(B, n, C) what the mixer's `queries` read from `keys` (B, m, C), all of them."""
        return attention(self.block.attn1, queries, keys, matrix_of(self.fused_projections), read=read)

    def pool(self, tokens: Tensor, grid: TokenGrid) -> Tensor:
        """(B, n or 1, C) what normed tokens read with uniform attention: the projected mean of their frame."""
        mixed = uniform_attention(self.block.attn1, tokens.unflatten(1, (grid.frames, -1)).mean(dim=2))  # (B, F, C)
        if grid.frames == 1:
            return mixed
        return mixed.repeat_interleave(grid.height * grid.width, dim=1)

    def finish(self, tokens: Tensor, modulation: Modulation, call: Call) -> Tensor:
        """(B, n, C) the rest of the block, of tokens (B, n, C) after the mixer: attention to the text, where the block
        has a caption to read, and the gated MLP."""
        if self.reads_text and call.text is not None:
            tokens = call.module(partial(self.attend_to, tokens, call.text)) + tokens

        def inside() -> Tensor:
            normed = self.norm_mlp(tokens) * (1 + modulation.scale_mlp) + modulation.shift_mlp
            return self.mlp(normed, call.queries.grid)

        output: Tensor = modulation.gate_mlp * call.module(inside) + tokens
        return output

    @property
    def reads_text(self) -> bool:
        """Whether the block attends to a text."""
        return self.block.attn2 is not None

    def text_of(self, caption: Caption) -> Text:
        """Give what the block reads of a caption, whatever the tokens are."""
        return text_of(self.block.attn2, caption, matrix_of(self.fused_text_projections))

    def attend_to(self, tokens: Tensor, text: Text | Caption) -> Tensor:
        """(B, n, C) what tokens read from the text; its keys and values are computed unless they are given."""
        text = self.text_of(text) if isinstance(text, Caption) else text
        return text_attention(self.block.attn2, tokens, text)

    def mlp(self, tokens: Tensor, grid: TokenGrid) -> Tensor:
        """(B, n, C) what the MLP makes of normed tokens on `grid`."""
        output: Tensor = self.block.ff(tokens)
        return output

    def fuse(self) -> list[FusedLinears]:
        """Multiply one input by one matrix from now on: queries, keys and values; keys and values of a text."""
        self.fused_projections = fused = _fused(self.block.attn1, "to_q", "to_k", "to_v")
        if self.block.attn2 is None:
            return [fused]
        self.fused_text_projections = _fused(self.block.attn2, "to_k", "to_v")
        return [fused, self.fused_text_projections]

    @property
    def parts(self) -> "tuple[TransformerBlock, ...]":
        """The transformer blocks that it is made of."""
        return (self,)

    @staticmethod
    def of_parts(part: "TransformerBlock") -> "TransformerBlock":
        """Give a block of other parts."""
        return part

    def calls(self, call: Call) -> list[Call]:
        """Give the call of each part."""
        return [call]

    def narrowed(self, *, heads: int | None, attention: Kept, hidden: Kept | None) -> Self:
        """Give the block with some heads and hidden channels of the same weights.

        Args:
            heads: that are kept; None keeps all.
            attention: the channels of these heads.
            hidden: the hidden channels that are kept; None keeps all.
        """
        narrow, block = copy.copy(self), self.block
        narrow.block = NarrowBlock(attn1=block.attn1, attn2=block.attn2, ff=block.ff)
        if heads is not None:
            narrow.block.attn1 = narrow.fused_projections = NarrowAttention(block.attn1, heads, attention)
        if hidden is not None:
            narrow.block.ff = NarrowMlp(block.ff, hidden)
        return narrow

    def prepare(self, *, copies: bool) -> None:
        """Look at the layers of a narrow block before they are used (`Slice.prepare`)."""
        self.block.prepare(copies=copies)


def _fused(module: nn.Module, *names: str) -> FusedLinears:
    return FusedLinears(module, [(module, name) for name in names])


def matrix_of(fused: FusedLinears | NarrowAttention | None) -> Matrix | None:
    """The matrix of joined layers, where they are joined and to be used."""
    return None if fused is None else fused.matrix
