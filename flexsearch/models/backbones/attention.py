"""Attention with the weights of diffusers' `Attention`, queries and keys of any number. Letters: B batch, C width."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from flexsearch.models.backbones.fused import Matrix
from flexsearch.models.backbones.modulation import Caption, Text


def attention(module: Any, queries: Tensor, keys: Tensor, fused: Matrix | None = None) -> Tensor:
    """(B, n, C) what `queries` (B, n, C) read from `keys` (B, m, C), output projection included.

    Args:
        module: diffusers' `Attention`.
        queries: normed tokens.
        keys: normed tokens; the very same tensor for self-attention.
        fused: its projections as one matrix.
    """
    return _read(module, *(_by_head(rows, module.heads) for rows in projections(module, queries, keys, fused)))


def text_attention(module: Any, queries: Tensor, text: Text) -> Tensor:
    """(B, n, C) what `queries` (B, n, C) read from a text, output projection included."""
    return _read(module, _by_head(module.to_q(queries), module.heads), *text)


def text_of(module: Any, caption: Caption, fused: Matrix | None = None) -> Text:
    """The keys and values of a caption; `fused` is the projections to both as one matrix."""
    tokens = caption.tokens
    if fused is None:
        keys, values = module.to_k(tokens), module.to_v(tokens)
    else:
        keys, values = F.linear(tokens, *fused).chunk(2, dim=-1)
    return Text(keys=_by_head(keys, module.heads), values=_by_head(values, module.heads), bias=caption.bias)


def uniform_attention(module: Any, mean: Tensor) -> Tensor:
    """(..., C) what every query reads with uniform weights, from the mean (..., C) of the keys."""
    output: Tensor = module.to_out[0](module.to_v(mean))
    return output


def _read(module: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention of (B, heads, n, C / heads) to (B, heads, m, C / heads); `bias` is added to the logits."""
    read = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    output: Tensor = module.to_out[0](read.transpose(1, 2).flatten(2))
    dropped: Tensor = module.to_out[1](output)
    return dropped


def _by_head(rows: Tensor, heads: int) -> Tensor:
    by_head: Tensor = rows.unflatten(-1, (heads, -1)).transpose(1, 2)
    return by_head


def projections(
    module: Any,
    queries: Tensor,
    keys: Tensor,
    fused: Matrix | None,
    names: Sequence[str] = ("to_q", "to_k", "to_v"),
) -> tuple[Tensor, ...]:
    """Queries, keys and values of self-attention, by the linear layers of these names or their fused matrix."""
    to_q, to_k, to_v = (getattr(module, name) for name in names)
    if fused is None:
        return to_q(queries), to_k(keys), to_v(keys)
    if keys is queries:
        return tuple(F.linear(queries, *fused).chunk(3, dim=-1))
    width = to_q.out_features
    bias = None if fused.bias is None else fused.bias[width:]
    return (to_q(queries), *F.linear(keys, fused.weight[width:], bias).chunk(2, dim=-1))
