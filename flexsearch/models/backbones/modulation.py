"""What a forward pass is conditioned on, as the blocks read it. Letters: B batch, C width, S text tokens."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Modulation(NamedTuple):
    """adaLN's six vectors for one block, each (B, 1, C); the same at every density."""

    shift_mixer: Tensor
    scale_mixer: Tensor
    gate_mixer: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


class Text(NamedTuple):
    """A caption: projected tokens (B, S, C), and what is added to the attention to each, (B, 1, 1, S) or None."""

    tokens: Tensor
    bias: Tensor | None


class Conditioning(NamedTuple):
    """Everything that the blocks and the head read beside tokens.

    Attributes:
        embedding: (B, C) embedded timestep, and class where the base reads classes.
        modulations: by block of the plan, one `Modulation` per transformer block in it.
        text: the caption, where the base reads text.
    """

    embedding: Tensor
    modulations: Mapping[int, tuple[Modulation, ...]]
    text: Text | None = None
