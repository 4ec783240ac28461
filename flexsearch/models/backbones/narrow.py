"""Some heads and hidden channels of a transformer block of diffusers, in place of all of them.

The modules here stand where `TransformerBlock` looks for diffusers' own: they multiply by slices of the same weights,
and add nothing. A layer that is no longer the plain one, as under a LoRA, is called whole, and what is not kept is
masked. Letters: C width, A channels of the heads that are kept, F hidden channels that are kept.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flexsearch.models.backbones.fused import Matrix
from flexsearch.models.backbones.hooks import is_plain


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The numbers of the channels that are kept: the first of an order, a buffer that moves with the model.

    Attributes:
        holder: of the buffer.
        name: of the buffer, (L, P, channels).
        place: block, and transformer block in it.
        num: of channels.
    """

    holder: nn.Module
    name: str
    place: tuple[int, int]
    num: int

    def __call__(self) -> Tensor:
        """(num,)."""
        order: Tensor = getattr(self.holder, self.name)
        return order[self.place][: self.num]


class Slice:
    """A linear layer of which some outputs, or some inputs, are kept.

    Args:
        holder: of the layer.
        name: of the layer in it.
        kept: the channels.
        of_inputs: whether they are inputs.
    """

    def __init__(self, holder: nn.Module, name: str, kept: Kept, *, of_inputs: bool = False) -> None:
        self._holder, self._name, self._kept, self._of_inputs = holder, name, kept, of_inputs
        self.out_features = self.layer.out_features if of_inputs else kept.num
        self._is_plain = is_plain(self.layer)
        self._copy: Matrix | None = None
        self._copied: tuple[Any, ...] = ()

    @property
    def layer(self) -> Any:
        """The layer, which others may have replaced."""
        return getattr(self._holder, self._name)

    def __call__(self, tokens: Tensor) -> Tensor:
        """(..., F or C) of tokens (..., C or F)."""
        if not self._is_plain:
            return self._masked(tokens)
        return F.linear(tokens, *self.matrix)

    @property
    def matrix(self) -> Matrix:
        """The slice: the copy that is kept for inference, or one that gradients flow through."""
        return self.copy or self._sliced()

    def prepare(self, *, copies: bool) -> bool:
        """Look at the layer before it is used, which compilers do not see.

        Args:
            copies: keep a copy of the slice, and make it anew where the layer's weights changed.

        Returns:
            Whether there is a new copy.
        """
        layer = self.layer
        self._is_plain = is_plain(layer)
        if not (copies and self._is_plain):
            self._copy = None
            return False
        state = _state_of(layer.weight), _state_of(layer.bias)
        if self._copy is not None and self._copied == state:
            return False
        with torch.inference_mode(False), torch.no_grad():
            self._copy, self._copied = self._sliced(), state
        return True

    def take(self, rows: Matrix) -> None:
        """Let the copy be rows of a larger one."""
        self._copy = rows

    @property
    def copy(self) -> Matrix | None:
        """The copy, where one is kept."""
        return self._copy

    def _sliced(self) -> Matrix:
        layer, kept = self.layer, self._kept()
        if self._of_inputs:
            return Matrix(layer.weight.index_select(1, kept), layer.bias)
        bias = None if layer.bias is None else layer.bias.index_select(0, kept)
        return Matrix(layer.weight.index_select(0, kept), bias)

    def _masked(self, tokens: Tensor) -> Tensor:
        output: Tensor
        if self._of_inputs:
            whole = tokens.new_zeros(*tokens.shape[:-1], self.layer.in_features)
            output = self.layer(whole.index_copy(-1, self._kept().long(), tokens))
        else:
            output = self.layer(tokens).index_select(-1, self._kept())
        return output


def _state_of(weight: Tensor | None) -> tuple[Any, ...]:
    """Changes whenever the weight does."""
    if weight is None:
        return ()
    version = 0 if weight.is_inference() else weight._version
    return (weight.data_ptr(), version, weight.dtype, weight.device)


class NarrowAttention:
    """Some heads of diffusers' `Attention`, as `flexsearch.models.backbones.attention` reads it.

    Args:
        attention: diffusers' module.
        heads: that are kept.
        kept: their channels.
    """

    def __init__(self, attention: Any, heads: int, kept: Kept) -> None:
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (Slice(attention, name, kept) for name in ("to_q", "to_k", "to_v"))
        self.to_out = (Slice(attention.to_out, "0", kept, of_inputs=True), attention.to_out[1])
        self._joined: Matrix | None = None

    @property
    def matrix(self) -> Matrix | None:
        """Queries, keys and values as one matrix, where copies are kept."""
        return self._joined

    def prepare(self, *, copies: bool) -> None:
        """Look at the layers before they are used, as `Slice.prepare`."""
        self.to_out[0].prepare(copies=copies)
        parts = (self.to_q, self.to_k, self.to_v)
        made = [one.prepare(copies=copies) for one in parts]
        found = [one.copy for one in parts if one.copy is not None]
        if len(found) < len(parts):
            self._joined = None
        elif any(made) or self._joined is None:
            with torch.inference_mode(False), torch.no_grad():
                bias = None if found[0].bias is None else torch.cat([one.bias for one in found if one.bias is not None])
                self._joined = Matrix(torch.cat([one.weight for one in found]), bias)
            rows = self._joined.weight.chunk(3), (None,) * 3 if bias is None else bias.chunk(3)
            for one, weight, its_bias in zip(parts, *rows, strict=True):
                one.take(Matrix(weight, its_bias))


class NarrowMlp:
    """Some hidden channels of diffusers' `FeedForward`.

    Args:
        mlp: diffusers' module, of a plain activation.
        kept: the hidden channels.
    """

    def __init__(self, mlp: Any, kept: Kept) -> None:
        self._mlp = mlp
        self._first, self._second = Slice(mlp.net[0], "proj", kept), Slice(mlp.net, "2", kept, of_inputs=True)

    def prepare(self, *, copies: bool) -> None:
        """Look at the layers before they are used, as `Slice.prepare`."""
        for one in (self._first, self._second):
            one.prepare(copies=copies)

    def __call__(self, tokens: Tensor) -> Tensor:
        """(..., C) of tokens (..., C)."""
        net = self._mlp.net
        output: Tensor = self._second(net[1](net[0].gelu(self._first(tokens))))
        for dropout in net[3:]:
            output = dropout(output)
        return output


@dataclass(kw_only=True)
class NarrowBlock:
    """What `TransformerBlock` calls of a diffusers block, some of it narrow."""

    attn1: Any
    attn2: Any
    ff: Any

    def prepare(self, *, copies: bool) -> None:
        """Look at the layers before they are used, as `Slice.prepare`."""
        for part in (self.attn1, self.ff):
            if isinstance(part, NarrowAttention | NarrowMlp):
                part.prepare(copies=copies)
