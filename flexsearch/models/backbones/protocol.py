"""What FlexDiT asks of a base model: an adapter that names its parts.

A new architecture is one file that implements `Backbone` out of `TransformerBlock`s. Letters: B batch, N dense tokens,
C width, H x W latent pixels, F frames (of a video).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from flexsearch.models.backbones.block import TransformerBlock
from flexsearch.models.backbones.fused import FusedLinears
from flexsearch.models.backbones.modulation import Caption, Conditioning
from flexsearch.schedule.shape import TokenGrid, TransformerShape


class Backbone(Protocol):
    """A base model, taken apart. Takes ownership of it.

    Attributes:
        base_class: diffusers' class.
        reads: keyword arguments of the base's forward that condition it.
        tied: whether one embedder serves all blocks, where the base has one in every block.
        shape: the base's sizes.
        blocks: for every block of the plan, the transformer blocks that it is made of: one, or for video a spatial and
            a temporal one. The first plays the operation's role; the next follow at the density that it leaves.
        tied_copies: (prefix of a copy, prefix of the original) of the base's weights that are one module here.
    """

    base_class: ClassVar[Any]
    reads: ClassVar[tuple[str, ...]]
    tied: bool
    shape: TransformerShape
    blocks: Sequence[tuple[TransformerBlock, ...]]
    tied_copies: list[tuple[str, str]]

    def grid_of(self, sample: Tensor) -> TokenGrid:
        """The dense token grid of an input."""

    def embed(self, sample: Tensor) -> Tensor:
        """(B, N, C) dense tokens, frame after frame, position embedding added."""

    def conditioning(
        self, timestep: Tensor, condition: Mapping[str, Tensor], dtype: torch.dtype, blocks: Sequence[int]
    ) -> Conditioning:
        """What `blocks` of the plan, rising, read; `condition` holds arguments out of `reads`."""

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption | None:
        """The projected caption that the blocks attend to; None where the base reads no text."""

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        """The output of the model, (B, out_channels, H, W) or (B, out_channels, F, H, W)."""

    def fuse(self) -> list[FusedLinears]:
        """Join matrices that multiply one input, for inference. Outputs change by rounding only."""
