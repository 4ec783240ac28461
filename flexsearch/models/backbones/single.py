"""adaLN-single: one modulation for all blocks, shifted by a table per block (PixArt-alpha, arXiv 2310.00426, 2.3).

PixArt-alpha and Latte share it. Letters: B batch, C width, S text tokens, D channels of a caption's embedding.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.models.backbones.modulation import Caption, Modulation


def modulations_of(shared: Tensor, blocks: list[Any]) -> list[Modulation]:
    """The modulation of every diffusers block, from the shared (B, 6C)."""
    rows = shared.unflatten(1, (6, -1))  # (B, 6, C)
    return [Modulation(*(block.scale_shift_table[None] + rows).chunk(6, dim=1)) for block in blocks]


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
    if "encoder_hidden_states" not in condition:
        raise UserError("is missing: this base reads captions", field="encoder_hidden_states")
    tokens: Tensor = projection(condition["encoder_hidden_states"].to(dtype))  # (B, S, C)
    mask = condition.get("encoder_attention_mask")
    if mask is None:
        return Caption(tokens=tokens, bias=None)
    bias = (1 - mask.to(dtype)) * -10000.0 if mask.ndim == 2 else mask.to(dtype)[:, 0]
    return Caption(tokens=tokens, bias=bias[:, None, None])


def modulated_output(base: Any, tokens: Tensor, embedding: Tensor) -> Tensor:
    """(..., C) -> (..., P) the final norm, modulation and projection; `embedding` is broadcast to `tokens`."""
    shift, scale = (base.scale_shift_table[None] + embedding[:, None]).chunk(2, dim=1)
    projected: Tensor = base.proj_out(base.norm_out(tokens) * (1 + scale) + shift)
    return projected
