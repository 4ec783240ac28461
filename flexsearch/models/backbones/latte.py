"""Adapter of diffusers' `LatteTransformer3DModel` (Latte, Ma et al. 2024, arXiv 2401.03048).

A block of the plan is a pair, as the base runs them: a spatial block, which plays the role, and the temporal block
after it, which mixes frames at every place of the grid that the spatial block leaves. Letters: B batch, F frames,
n tokens of one frame, C width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import LatteTransformer3DModel
from torch import Tensor, nn

from flexsearch.models.architectures.latte import shape_of
from flexsearch.models.backbones.attention import uniform_attention
from flexsearch.models.backbones.backbone import Backbone
from flexsearch.models.backbones.block import TransformerBlock
from flexsearch.models.backbones.call import Call, Read
from flexsearch.models.backbones.fused import FusedLinears
from flexsearch.models.backbones.modulation import Caption, Conditioning, Text, caption_of
from flexsearch.models.backbones.patches import unpatchify
from flexsearch.models.backbones.single import modulated_output, modulations_of
from flexsearch.schedule.role import Operation
from flexsearch.schedule.shape import TokenGrid


class TemporalBlock(TransformerBlock):
    """A block whose mixer attends along time, at every place by itself.

    Args:
        block: diffusers' block.
        embedder: the base, whose embedding of the frames the first temporal block adds to the tokens; else None.
    """

    def __init__(self, block: Any, *, embedder: Any | None) -> None:
        super().__init__(block, norm_mixer=block.norm1, norm_mlp=block.norm2)
        self.embedder = embedder

    def enter(self, tokens: Tensor, operation: Operation) -> Tensor:
        """Add the frames' embedding; a sparse frame has the mean of the frames that it stands for."""
        dense, frames = max(operation.queries.frames, operation.keys.frames), operation.queries.frames
        if self.embedder is None or dense == 1:
            return tokens
        table: Tensor = self.embedder.temp_pos_embed[:, :dense]  # (1, F, C)
        position = table.unflatten(1, (frames, -1)).mean(dim=2)  # (1, frames, C)
        placed = position.to(tokens.dtype).repeat_interleave(operation.queries.num_tokens // frames, dim=1)
        positioned: Tensor = tokens + placed
        return positioned

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        *,
        query_grid: TokenGrid,
        key_grid: TokenGrid,
        read: Read = F.scaled_dot_product_attention,
    ) -> Tensor:
        frames = query_grid.frames
        assert keys is queries, "a temporal block mixes tokens of one density"
        places = queries.unflatten(1, (frames, -1)).transpose(1, 2).flatten(0, 1)  # (B * n, F, C)
        mixed = self.attention(places, places, read)
        framed: Tensor = mixed.unflatten(0, (queries.shape[0], -1)).transpose(1, 2).flatten(1, 2)  # (B, F * n, C)
        return framed

    def pool(self, tokens: Tensor, grid: TokenGrid) -> Tensor:
        mixed = uniform_attention(self.block.attn1, tokens.unflatten(1, (grid.frames, -1)).mean(dim=1))  # (B, n, C)
        return mixed.repeat(1, grid.frames, 1)


class PairOfBlocks:
    """A spatial block, which plays the role and reads the text, and the temporal block after it."""

    def __init__(self, spatial: TransformerBlock, temporal: TemporalBlock) -> None:
        self.spatial = spatial
        self.temporal = temporal

    @property
    def taken_apart(self) -> tuple[nn.Module, ...]:
        return (*self.spatial.taken_apart, *self.temporal.taken_apart)

    @property
    def parts(self) -> tuple[TransformerBlock, ...]:
        """The transformer blocks that it is made of."""
        return (self.spatial, self.temporal)

    @staticmethod
    def of_parts(spatial: TransformerBlock, temporal: TemporalBlock) -> "PairOfBlocks":
        """Give a block of other parts."""
        return PairOfBlocks(spatial, temporal)

    def calls(self, call: Call) -> list[Call]:
        """Give the call of each part; the conditioning is a `Modulation` for each."""
        in_space, in_time = call.conditioning
        return [
            call._replace(block=self.spatial, conditioning=in_space),
            call._replace(block=self.temporal, conditioning=in_time, text=None, read=F.scaled_dot_product_attention),
        ]

    def run(
        self, queries: Tensor, keys: Tensor | None, context: Tensor | None, call: Call
    ) -> tuple[Tensor, Tensor | None]:
        """Do what `Call.run` says."""
        in_space, in_time = self.calls(call)
        moved, _ = in_space.run(queries, keys, context)
        return in_time.run(moved, None if keys is None else moved, context)

    def text_of(self, caption: Caption) -> Text:
        return self.spatial.text_of(caption)

    def fuse(self) -> list[FusedLinears]:
        return [*self.spatial.fuse(), *self.temporal.fuse()]


class LatteBackbone(Backbone):
    """A `LatteTransformer3DModel`, taken apart."""

    base_class = LatteTransformer3DModel
    shape_of = staticmethod(shape_of)
    reads = ("encoder_hidden_states", "encoder_attention_mask")

    def take_apart(self) -> list[PairOfBlocks]:
        pairs = zip(self.base.transformer_blocks, self.base.temporal_transformer_blocks, strict=True)
        return [
            PairOfBlocks(
                TransformerBlock(spatial, norm_mixer=spatial.norm1, norm_mlp=spatial.norm2),
                TemporalBlock(temporal, embedder=self.base if index == 0 else None),
            )
            for index, (spatial, temporal) in enumerate(pairs)
        ]

    def embed(self, sample: Tensor) -> Tensor:
        frames = sample.shape[2]
        embedded = self.base.pos_embed(sample.transpose(1, 2).flatten(0, 1))  # (B * F, n, C)
        tokens: Tensor = embedded.unflatten(0, (-1, frames)).flatten(1, 2)
        return tokens

    def conditioning(
        self, timestep: Tensor, condition: Mapping[str, Tensor], dtype: torch.dtype, blocks: Sequence[int]
    ) -> Conditioning:
        shared, embedding = self.base.adaln_single(timestep, None, batch_size=timestep.shape[0], hidden_dtype=dtype)
        spatial = modulations_of(shared, self.base.transformer_blocks, blocks)
        temporal = modulations_of(shared, self.base.temporal_transformer_blocks, blocks)
        return Conditioning(embedding, {block: (spatial[block], temporal[block]) for block in blocks})

    def caption(self, condition: Mapping[str, Tensor], dtype: torch.dtype) -> Caption:
        return caption_of(self.base.caption_projection, condition, dtype)

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        projected = modulated_output(self.base, self.base.norm_out(tokens), conditioning.embedding)
        frames = projected.unflatten(1, (grid.frames, -1)).flatten(0, 1)  # (B * F, n, P * P * out_channels)
        pixels = unpatchify(frames, grid, self.shape.patch_size)
        video: Tensor = pixels.unflatten(0, (-1, grid.frames)).transpose(1, 2)
        return video
