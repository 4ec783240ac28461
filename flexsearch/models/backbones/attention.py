"""Attention with the weights of diffusers' `Attention`, queries and keys of any number. Letters: B batch, C width."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor


def attention(module: Any, queries: Tensor, keys: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, n, C) what `queries` (B, n, C) read from `keys` (B, m, C), output projection included.

    Args:
        module: diffusers' `Attention`; its fused projections are used where it has them.
        queries: normed tokens.
        keys: normed tokens; the very same tensor for self-attention.
        bias: added to the logits, broadcastable to (B, heads, n, m).
    """
    query, key, value = (_by_head(rows, module.heads) for rows in _projections(module, queries, keys))
    read = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # (B, heads, n, C / heads)
    output: Tensor = module.to_out[0](read.transpose(1, 2).flatten(2))
    dropped: Tensor = module.to_out[1](output)
    return dropped


def uniform_attention(module: Any, mean: Tensor) -> Tensor:
    """(..., C) what every query reads with uniform weights, from the mean (..., C) of the keys."""
    output: Tensor = module.to_out[0](module.to_v(mean))
    return output


def _by_head(rows: Tensor, heads: int) -> Tensor:
    by_head: Tensor = rows.unflatten(-1, (heads, -1)).transpose(1, 2)
    return by_head


def _projections(module: Any, queries: Tensor, keys: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values."""
    if not module.fused_projections:
        return module.to_q(queries), module.to_k(keys), module.to_v(keys)
    if module.is_cross_attention:
        return (module.to_q(queries), *module.to_kv(keys).chunk(2, dim=-1))
    fused = module.to_qkv
    if keys is queries:
        return tuple(fused(queries).chunk(3, dim=-1))
    width = module.to_q.out_features
    bias = None if fused.bias is None else fused.bias[width:]
    return (module.to_q(queries), *F.linear(keys, fused.weight[width:], bias).chunk(2, dim=-1))
