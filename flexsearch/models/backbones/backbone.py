"""Say what FlexDiT asks of a base model: an adapter that names its parts.

A new architecture is one file with a `Backbone`, out of `TransformerBlock`s or of blocks of its own. Letters:
B batch, N dense tokens, n tokens, S text tokens, C width, H x W latent pixels, F frames (of a video).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from flexsearch.models.backbones.call import Call
from flexsearch.models.backbones.fused import FusedLinears
from flexsearch.models.backbones.modulation import Caption, Conditioning, Text
from flexsearch.schedule.shape import TokenGrid, TransformerShape


class Block(Protocol):
    """One block of a schedule: the base's own modules, by its own rules.

    Attributes:
        taken_apart: modules of it that are never called, only what they hold.
    """

    @property
    def taken_apart(self) -> tuple[nn.Module, ...]: ...

    def run(
        self, queries: Tensor, keys: Tensor | None, context: Tensor | None, call: Call
    ) -> tuple[Tensor, Tensor | None]:
        """Do what `Call.run` says. In every role the weights are the same."""

    def text_of(self, caption: Caption) -> Text:
        """Give what the block reads of a caption that no block rewrites, whatever the tokens are."""

    def fuse(self) -> list[FusedLinears]:
        """Join matrices that multiply one input."""


class Opened(NamedTuple):
    """A model call before its first block.

    Attributes:
        tokens: (B, N, C) dense tokens, frame after frame, position embedding added where the base adds one.
        conditioning: what blocks and head read.
        text: the text tokens that enter the first block, of a base that rewrites them, and which of them are read.
        places: (R, N, axes) where the tokens lie, R is 1 or B, of a base whose attention rotates queries and keys by
            their place; else None. A sparse token lies at the mean of the places that it stands for.
        text_rotary: the rotary table of the text tokens, of a base that rewrites text.
    """

    tokens: Tensor
    conditioning: Conditioning
    text: Caption | None = None
    places: Tensor | None = None
    text_rotary: Any = None


class Backbone(ABC):
    """A base model, taken apart. Takes ownership of it.

    Args:
        base: diffusers' model.
        tied: whether the embedders of all blocks are equal, where the base has one in every block and it is known.

    Attributes:
        base_class: diffusers' class.
        reads: keyword arguments of the base's forward that condition it.
        rewrites_text: whether text tokens pass through the blocks beside image tokens (joint attention). Else every
            block reads the caption as it is, or there is none.
        processors: diffusers' class, by the attribute that holds an attention, that the base is built with: our blocks
            compute what it computes. By name, for to import them takes longer.
        is_called_by_keyword: whether diffusers' pipelines give the base what conditions it by keyword.
        tied: whether one embedder serves all blocks, where the base has one in every block.
        tied_copies: (prefix of a copy, prefix of the original) of the base's weights that are one module here.
        shape: the base's sizes.
        blocks: one for every block of a schedule.
    """

    base_class: ClassVar[Any]
    reads: ClassVar[tuple[str, ...]]
    rewrites_text: ClassVar[bool] = False
    processors: ClassVar[Mapping[str, str]] = {"attn1": "AttnProcessor2_0", "attn2": "AttnProcessor2_0"}
    is_called_by_keyword: ClassVar[bool] = True
    tied: bool = False
    tied_copies: Sequence[tuple[str, str]] = ()

    def __init__(self, base: Any, *, tied: bool | None = None) -> None:
        self.base = base
        self.shape = self.shape_of(base.config)
        self.blocks: Sequence[Block] = self.take_apart()

    @staticmethod
    @abstractmethod
    def shape_of(config: Mapping[str, Any]) -> TransformerShape:
        """The sizes that decide what a model with this configuration costs."""

    @abstractmethod
    def take_apart(self) -> Sequence[Block]:
        """Give the blocks of a schedule."""

    def grid_of(self, sample: Tensor, condition: Mapping[str, Any]) -> TokenGrid:
        """The dense token grid of an input: latents (B, channels, H, W) or (B, channels, F, H, W)."""
        frames, height, width = (1, *sample.shape[2:])[-3:]
        return TokenGrid(frames=frames, height=height // self.shape.patch_size, width=width // self.shape.patch_size)

    def timestep_of(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """(B,) the timestep on the scheduler's clock, from 0 at the data, of what the base is called with. A base that
        is called in two ways tells them by the sample."""
        return timestep

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption | None:
        """The projected caption, as it depends on neither time nor data; None where the base reads no text."""
        return None

    def open(
        self,
        sample: Tensor,
        timestep: Tensor,
        condition: Mapping[str, Any],
        caption: Caption | None,
        blocks: Sequence[int],
    ) -> Opened:
        """Embed.

        Args:
            sample: noisy data.
            timestep: (B,) as the base is called with.
            condition: arguments out of `reads`.
            caption: of a base that rewrites text; else None.
            blocks: rising, those that are computed.
        """
        tokens = self.embed(sample)
        return Opened(tokens, self.conditioning(timestep, condition, tokens.dtype, blocks), caption)

    def embed(self, sample: Tensor) -> Tensor:
        """(B, N, C) dense tokens."""
        tokens: Tensor = self.base.pos_embed(sample)
        return tokens

    def conditioning(
        self, timestep: Tensor, condition: Mapping[str, Any], dtype: torch.dtype, blocks: Sequence[int]
    ) -> Conditioning:
        """Give what blocks and head read beside tokens and text; arguments as of `open`, and the dtype of the tokens.
        Every adapter has it that has no `open` of its own."""
        raise NotImplementedError

    def rotary(self, places: Tensor) -> Any:
        """The base's rotary table at places (R, n, axes), which need not be whole; None where it has none."""
        return None

    @abstractmethod
    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        """The output of the model, shaped as its input but for the channels."""

    def fuse(self) -> list[FusedLinears]:
        """Join matrices that multiply one input, for inference. Outputs change by rounding only."""
        return [fused for block in self.blocks for fused in block.fuse()]
