"""What FlexDiT asks of a base model: an adapter that names its parts.

Letters: B batch, n tokens, C width. A new architecture is one file that implements `Backbone` and `BackboneBlock`.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.macs import TransformerShape


@dataclass(frozen=True)
class Modulation:
    """adaLN-Zero's six vectors for one block, each (B, 1, C)."""

    shift_mixer: Tensor
    scale_mixer: Tensor
    gate_mixer: Tensor
    shift_mlp: Tensor
    scale_mlp: Tensor
    gate_mlp: Tensor


class BackboneBlock(Protocol):
    """One block of the base, taken apart. The same weights serve every role."""

    def modulation(self, conditioning: Tensor) -> Modulation:
        """adaLN of this block; the same at every density."""

    def normed(self, tokens: Tensor, modulation: Modulation) -> Tensor:
        """(B, n, C) normalised and modulated tokens, ready for the token mixer."""

    def attend(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(B, n, C) attention of normed `queries` to normed `keys` (B, m, C), output projection included."""

    def pool(self, tokens: Tensor) -> Tensor:
        """(B, 1, C) attention with uniform weights: what every normed token would receive."""

    def after_mixer(self, tokens: Tensor, modulation: Modulation) -> Tensor:
        """(B, n, C) the rest of the block: the gated MLP, and text attention where the base has it."""


class Backbone(Protocol):
    """A base model, taken apart."""

    shape: TransformerShape
    blocks: list[BackboneBlock]

    def grid_of(self, sample: Tensor) -> TokenGrid:
        """The dense token grid of an input."""

    def embed(self, sample: Tensor) -> Tensor:
        """(B, N, C) dense tokens, position embedding added."""

    def conditioning(self, timestep: Tensor, class_labels: Tensor, tokens: Tensor) -> list[Tensor]:
        """Per block, the (B, C) vector that modulates it; computed once where all embedders are equal."""

    def head(self, tokens: Tensor, conditioning: Tensor, grid: TokenGrid) -> Tensor:
        """(B, out_channels, H, W) the output of the model."""
