"""FlexDiT's block roles written out from the formulas (arXiv 2412.06028, section 3.2), slowly and without sharing.

One token at a time, one head at a time; attention as explicit sums. Nothing here calls flexsearch.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def modulation(block: nn.Module, conditioning: Tensor) -> list[Tensor]:
    """Shift, scale and gate of the mixer, then of the MLP, each (C,)."""
    linear = block.norm1.linear
    return list((linear.weight @ F.silu(conditioning) + linear.bias).chunk(6))


def norm(token: Tensor, scale: Tensor, shift: Tensor, epsilon: float) -> Tensor:
    """LayerNorm without weights, then modulation, of one token (C,)."""
    centred = token - token.mean()
    return centred / torch.sqrt((centred**2).mean() + epsilon) * (1 + scale) + shift


def attention(block: nn.Module, queries: list[Tensor], keys: list[Tensor], *, uniform: bool = False) -> list[Tensor]:
    """Multi-head attention of modulated tokens; `uniform` gives every key the same weight."""
    layer = block.attn1
    heads, width = layer.heads, queries[0].numel()
    size = width // heads
    values = [layer.to_v.weight @ key + layer.to_v.bias for key in keys]
    outputs = []
    for query in queries:
        mixed = torch.zeros(width)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            if uniform:
                weights = torch.full((len(keys),), 1 / len(keys))
            else:
                q = (layer.to_q.weight @ query + layer.to_q.bias)[part]
                k = torch.stack([(layer.to_k.weight @ key + layer.to_k.bias)[part] for key in keys])
                weights = torch.softmax(k @ q / math.sqrt(size), dim=0)
            mixed[part] = sum(weight * value[part] for weight, value in zip(weights, values, strict=True))
        outputs.append(layer.to_out[0].weight @ mixed + layer.to_out[0].bias)
    return outputs


def mlp(block: nn.Module, token: Tensor) -> Tensor:
    first, second = block.ff.net[0].proj, block.ff.net[2]
    return second.weight @ F.gelu(first.weight @ token + first.bias, approximate="tanh") + second.bias


def run_block(
    block: nn.Module, tokens: list[Tensor], sources: list[Tensor], conditioning: Tensor, *, uniform: bool = False
) -> list[Tensor]:
    """`tokens` attend to `sources`, then the MLP: residual, gated, adaLN-Zero. Every role is a case of this."""
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = modulation(block, conditioning)
    queries = [norm(token, scale, shift, 1e-6) for token in tokens]
    keys = [norm(source, scale, shift, 1e-6) for source in sources]
    mixed = [
        token + gate * out for token, out in zip(tokens, attention(block, queries, keys, uniform=uniform), strict=True)
    ]
    epsilon = block.norm3.eps
    return [token + gate_mlp * mlp(block, norm(token, scale_mlp, shift_mlp, epsilon)) for token in mixed]


def average_pool(tokens: list[Tensor], height: int, width: int, side: int) -> list[Tensor]:
    """Adaptive average pooling: cell (i, j) is the mean of rows floor(i H / k) to ceil((i + 1) H / k)."""
    pooled = []
    for i in range(side):
        rows = range(i * height // side, -(-(i + 1) * height // side))
        for j in range(side):
            columns = range(j * width // side, -(-(j + 1) * width // side))
            pooled.append(torch.stack([tokens[row * width + column] for row in rows for column in columns]).mean(0))
    return pooled


def nearest(tokens: list[Tensor], side: int, height: int, width: int) -> list[Tensor]:
    """Nearest-neighbour upsampling of a side x side grid."""
    return [
        tokens[(row * side // height) * side + column * side // width]
        for row in range(height)
        for column in range(width)
    ]


def merged(weights: nn.Module, sparse: list[Tensor], dense: list[Tensor]) -> list[Tensor]:
    """`W1 Up(sparse) + b1 + W2 dense + b2`, with `sparse` upsampled already."""
    return [
        weights.sparse.weight @ up + weights.sparse.bias + weights.dense.weight @ token + weights.dense.bias
        for up, token in zip(sparse, dense, strict=True)
    ]
