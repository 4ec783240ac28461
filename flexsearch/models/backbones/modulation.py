"""Say what a forward pass is conditioned on, as the blocks read it. Letters: B batch, C width, S text tokens, D
channels of a caption's embedding."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flexsearch.errors import UserError


class Modulation(NamedTuple):
    """adaLN's six vectors for one block, each (B, 1, C); the same at every density."""

    shift_mixer: Tensor
    scale_mixer: Tensor
    gate_mixer: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


class Caption(NamedTuple):
    """A caption: projected tokens (B, S, C), and what is added to the attention to each, (B, 1, 1, S) or None; a bool
    there leaves tokens out."""

    tokens: Tensor
    bias: Tensor | None

    def rows(self, num: int) -> "Caption":
        """The first `num` rows of the batch."""
        return Caption(self.tokens[:num], None if self.bias is None else self.bias[:num])


class Text(NamedTuple):
    """A caption as one block reads it: its keys and values, each (B, heads, S, C / heads), and the caption's bias.

    It depends on neither time nor data, so that one serves all steps of an image.
    """

    keys: Tensor
    values: Tensor
    bias: Tensor | None

    def rows(self, num: int) -> "Text":
        """The first `num` rows of the batch."""
        return Text(self.keys[:num], self.values[:num], None if self.bias is None else self.bias[:num])


class Conditioning(NamedTuple):
    """What the blocks and the head read beside tokens and text.

    Attributes:
        embedding: (B, C) embedded timestep, and class where the base reads classes.
        modulations: by block of the plan, what it is modulated with: a `Modulation`, or what else the adapter's blocks
            read.
        is_packed: whether the output has the form in which diffusers' pipelines call the base, where that is another.
    """

    embedding: Tensor
    modulations: Mapping[int, Any]
    is_packed: bool = False


def given(condition: Mapping[str, Any], name: str, what: str) -> Tensor:
    """Give a condition.

    Raises:
        UserError: it is missing.
    """
    if name not in condition:
        raise UserError(f"is missing: this base reads {what}", field=name)
    value: Tensor = condition[name]
    return value


def caption_of(projection: Any, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
    """The projected caption, padding masked out.

    Args:
        projection: the base's caption projection.
        condition: "encoder_hidden_states" (B, S, D), and "encoder_attention_mask": (B, S) with 1 for a token and 0 for
            padding, or (B, 1, S) to be added to the logits.
        dtype: of the base.

    Raises:
        UserError: there is no caption.
    """
    tokens: Tensor = projection(given(condition, "encoder_hidden_states", "captions").to(dtype))  # (B, S, C)
    mask = condition.get("encoder_attention_mask")
    if mask is None:
        return Caption(tokens=tokens, bias=None)
    bias = (1 - mask.to(dtype)) * -10000.0 if mask.ndim == 2 else mask.to(dtype)[:, 0]
    return Caption(tokens=tokens, bias=bias[:, None, None])
