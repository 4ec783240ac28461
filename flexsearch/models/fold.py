"""Gain in weights: factors on tokens that then cost nothing at run time (`flexsearch.schedule.gain`).

A recover block merges `Up(W1 s + b1) + skip (W2 y + b2)`: the factor on the dense tokens goes into W2 and b2. A norm
divides a factor on the whole stream out, but for its eps: scaling the stream by g before a block equals multiplying by
1 / g all that is added to it from there on, by the gates of adaLN, b1 and b2. The head begins with a norm.
"""

from dataclasses import replace
from typing import Any

import torch
from diffusers import DiTTransformer2DModel

from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.role_weights import role_weights
from flexsearch.models.roles.sdtm import Merge
from flexsearch.schedule.cache import NO_CACHE
from flexsearch.schedule.gain import NO_GAIN, Gain
from flexsearch.schedule.sampling import Sampling

_GATES = (2, 5)
"""Of adaLN's six vectors, those that multiply what attention and MLP add."""


def fold_gain(model: FlexDiT, sampling: Sampling) -> Gain:
    """Put a sampling's gain into weights, and give what is left to be applied at run time.

    The stream's factor is left where blocks share their gates (adaLN-single, whose text attention reads tokens without
    a norm), and where partial steps reuse the residual of a span that holds block `at`. All of it is left where roles
    that this does not know bring weights.

    Args:
        model: changed in place, and not fused yet: fused matrices are copies.
        sampling: its gain, and its cache, which knows the span.
    """
    gain, cache = sampling.gain, sampling.cache
    if not all(isinstance(weights, Merge) for *_, weights in role_weights(model)):
        return gain
    span = cache.span(model.graphs()[0].route) if cache != NO_CACHE and cache.reuse == "span" else None
    is_reused = span is not None and span[0] <= gain.at < span[1]
    left = replace(gain, skip=1.0) if is_reused or not _has_gates(model) else NO_GAIN
    folded = gain.without(left)
    _scale(model, stream=folded.stream, at=folded.at, skip=folded.skip)
    return left


def unfold_gain(model: FlexDiT, gain: Gain) -> None:
    """Take out of weights, in place, the gain that they carry: training and another gain begin without it."""
    _scale(model, stream=1 / gain.stream, at=gain.at, skip=1 / gain.skip)


def fold_gain_into_base(model: FlexDiT, gain: Gain) -> None:
    """Put a gain into the base's weights, in place, where those of roles carry it already."""
    _scale_gates(model, stream=gain.stream, at=gain.at)


def _has_gates(model: FlexDiT) -> bool:
    """Tell whether every block has gates of its own, and nothing in it reads tokens without a norm."""
    return isinstance(model.base, DiTTransformer2DModel)


@torch.no_grad()
def _scale(model: FlexDiT, *, stream: float, at: int, skip: float) -> None:
    for _, block, weights in role_weights(model):
        if skip != 1:
            weights.dense.weight.mul_(skip)
            weights.dense.bias.mul_(skip)
        if stream != 1 and block >= at:
            weights.sparse.bias.div_(stream)
            weights.dense.bias.div_(stream)
    _scale_gates(model, stream=stream, at=at)


@torch.no_grad()
def _scale_gates(model: FlexDiT, *, stream: float, at: int) -> None:
    if stream == 1:
        return
    base: Any = model.base
    for block in base.transformer_blocks[at:]:
        linear = block.norm1.linear
        for values in (linear.weight, linear.bias):
            gates = values.unflatten(0, (6, -1))
            for gate in _GATES:
                gates[gate].div_(stream)
