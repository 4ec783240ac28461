"""Attention with the weights of diffusers' `Attention`, queries and keys of any number.

Letters: B batch, n and m tokens, C width, D channels of a head.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from flexsearch.models.backbones.call import Read
from flexsearch.models.backbones.fused import Matrix
from flexsearch.models.backbones.modulation import Caption, Text
from flexsearch.models.backbones.rotary import RealTable, turned


def attention(
    module: Any,
    queries: Tensor,
    keys: Tensor,
    fused: Matrix | None = None,
    rotary: tuple[RealTable, RealTable] | None = None,
    read: Read = F.scaled_dot_product_attention,
) -> Tensor:
    """(B, n, C) what `queries` (B, n, C) read from `keys` (B, m, C), output projection included.

    Args:
        module: diffusers' `Attention`.
        queries: normed tokens.
        keys: normed tokens; the very same tensor for self-attention.
        fused: its projections as one matrix.
        rotary: of the places of the queries and of the keys.
        read: what heads do.
    """
    query, key, value = (_by_head(rows, module.heads) for rows in _normed_projections(module, queries, keys, fused))
    if rotary is not None:
        query, key = turned(query, rotary[0]), turned(key, rotary[1])
    return projected_out(module, read(query, key, value).transpose(1, 2).flatten(2))


def linear_attention(module: Any, queries: Tensor, keys: Tensor, fused: Matrix | None = None) -> Tensor:
    """(B, n, C) what `queries` read from `keys` with weights that are products of rectified channels, over their sum.

    In fp32, as diffusers' `SanaLinearAttnProcessor2_0`. Arguments as of `attention`.
    """
    rows = _normed_projections(module, queries, keys, fused)
    query, key, value = (one.transpose(1, 2).unflatten(1, (module.heads, -1)) for one in rows)  # (B, heads, D, n)
    query, key, value = F.relu(query).float(), F.relu(key).float(), value.float()
    value = F.pad(value, (0, 0, 0, 1), value=1.0)  # (B, heads, D + 1, m): the sum of the weights is the last row
    read = value @ key.transpose(2, 3) @ query
    read = (read[:, :, :-1] / (read[:, :, -1:] + 1e-15)).flatten(1, 2).transpose(1, 2)
    output = projected_out(module, read.to(queries.dtype))
    return output.clip(-65504, 65504) if output.dtype == torch.float16 else output


def text_attention(module: Any, queries: Tensor, text: Text) -> Tensor:
    """(B, n, C) what `queries` (B, n, C) read from a text, output projection included."""
    query = _by_head(_normed(module, "norm_q", module.to_q(queries)), module.heads)
    found = F.scaled_dot_product_attention(query, text.keys, text.values, attn_mask=text.bias)
    return projected_out(module, found.transpose(1, 2).flatten(2))


def text_of(module: Any, caption: Caption, fused: Matrix | None = None) -> Text:
    """The keys and values of a caption; `fused` is the projections to both as one matrix."""
    tokens = caption.tokens
    if fused is None:
        keys, values = module.to_k(tokens), module.to_v(tokens)
    else:
        keys, values = F.linear(tokens, *fused).chunk(2, dim=-1)
    keys = _normed(module, "norm_k", keys)
    return Text(keys=_by_head(keys, module.heads), values=_by_head(values, module.heads), bias=caption.bias)


def uniform_attention(module: Any, mean: Tensor) -> Tensor:
    """(..., C) what every query reads with uniform weights, from the mean (..., C) of the keys."""
    output: Tensor = module.to_out[0](module.to_v(mean))
    return output


def projected_out(module: Any, read: Tensor) -> Tensor:
    """(B, n, C) the output projection of what heads read."""
    for layer in module.to_out:
        read = layer(read)
    return read


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


def _normed(module: Any, name: str, rows: Tensor) -> Tensor:
    """Queries or keys through the norm across heads, where the base has one."""
    norm = getattr(module, name, None)
    return rows if norm is None else norm(rows)


def _normed_projections(module: Any, queries: Tensor, keys: Tensor, fused: Matrix | None) -> tuple[Tensor, ...]:
    """Queries, keys and values, the first two through the norms across heads."""
    query, key, value = projections(module, queries, keys, fused)
    return _normed(module, "norm_q", query), _normed(module, "norm_k", key), value
