"""Adapter of diffusers' `DiTTransformer2DModel` (Peebles & Xie 2023, arXiv 2212.09748)."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DiTTransformer2DModel
from torch import Tensor, nn

from flexsearch.errors import UserError, shown
from flexsearch.models.architectures.dit import shape_of
from flexsearch.models.backbones.backbone import Backbone
from flexsearch.models.backbones.block import TransformerBlock, matrix_of
from flexsearch.models.backbones.fused import FusedLinears, Matrix
from flexsearch.models.backbones.modulation import Conditioning, Modulation, given
from flexsearch.models.backbones.patches import unpatchify
from flexsearch.schedule.shape import TokenGrid

_EMBEDDER = "transformer_blocks.{}.norm1.emb."


class DiTBackbone(Backbone):
    """A `DiTTransformer2DModel`, taken apart.

    Equal embedders become one shared module, and label dropout is left to the batches.
    """

    base_class = DiTTransformer2DModel
    shape_of = staticmethod(shape_of)
    reads = ("class_labels",)

    def __init__(self, base: DiTTransformer2DModel, *, tied: bool | None = None) -> None:
        super().__init__(base)
        self.tied = tie_embedders(base, known=tied)
        leave_label_dropout_to_the_batches(base)
        keep_time_frequencies(base)
        num = len(base.transformer_blocks)
        if self.tied:
            self.tied_copies = [(_EMBEDDER.format(block), _EMBEDDER.format(0)) for block in range(1, num)]
        self.shape = replace(self.shape, num_embedders=1 if self.tied else num)
        self._fused_modulation: FusedLinears | None = None

    def take_apart(self) -> list[TransformerBlock]:
        return [
            TransformerBlock(block, norm_mixer=block.norm1.norm, norm_mlp=block.norm3)
            for block in self.base.transformer_blocks
        ]

    def conditioning(
        self, timestep: Tensor, condition: Mapping[str, Tensor], dtype: torch.dtype, blocks: Sequence[int]
    ) -> Conditioning:
        labels = given(condition, "class_labels", "class labels")
        first, norms = self.base.transformer_blocks[0], [self.base.transformer_blocks[one].norm1 for one in blocks]
        embedding = first.norm1.emb(timestep, labels, hidden_dtype=dtype)  # (B, C), for the head
        fused = matrix_of(self._fused_modulation)
        if fused is not None:
            rows = self._fused_rows(fused, F.silu(embedding), blocks)
        else:
            rows = [
                norm.linear(
                    norm.silu(
                        embedding
                        if self.tied or norm is first.norm1
                        else norm.emb(timestep, labels, hidden_dtype=dtype)
                    )
                )
                for norm in norms
            ]  # (B, 6C) each
        modulations = {
            block: Modulation(*(vector[:, None] for vector in row.chunk(6, dim=1)))
            for block, row in zip(blocks, rows, strict=True)
        }
        return Conditioning(embedding=embedding, modulations=modulations)

    def _fused_rows(self, fused: Matrix, embedding: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """(B, 6C) for each of `blocks`; of the fused matrix, only their rows are read."""
        weight, bias = fused
        assert bias is not None, "adaLN has one"
        size = weight.shape[0] // len(self.base.transformer_blocks)
        rows: list[Tensor] = []
        for run in _runs(blocks):
            part = slice(run[0] * size, (run[-1] + 1) * size)
            rows += F.linear(embedding, weight[part], bias[part]).chunk(len(run), dim=1)
        return rows

    def head(self, tokens: Tensor, conditioning: Conditioning, grid: TokenGrid) -> Tensor:
        base = self.base
        shift, scale = base.proj_out_1(F.silu(conditioning.embedding)).chunk(2, dim=1)
        projected = base.proj_out_2(base.norm_out(tokens) * (1 + scale[:, None]) + shift[:, None])
        return unpatchify(projected, grid, self.shape.patch_size)

    def fuse(self) -> list[FusedLinears]:
        fused = super().fuse()
        if self.tied:  # one embedding for all blocks: their adaLN is one matrix product
            norms = [block.norm1 for block in self.base.transformer_blocks]
            self._fused_modulation = FusedLinears(self.base, [(norm, "linear") for norm in norms])
            fused.append(self._fused_modulation)
        return fused


def _runs(blocks: Sequence[int]) -> Iterator[list[int]]:
    """Split rising numbers where one is left out."""
    for _, run in groupby(enumerate(blocks), key=lambda item: item[1] - item[0]):
        yield [block for _, block in run]


def tie_embedders(base: DiTTransformer2DModel, *, known: bool | None = None) -> bool:
    """Make all blocks share the first block's embedder where they hold identical weights.

    diffusers gives every block its own copy of the timestep and class embedder; in the public checkpoints the copies
    are equal. Tied, they are computed, stored and trained once. The base's outputs do not change.

    Args:
        base: changed in place.
        known: whether the embedders are equal, where that is known; None compares them.

    Returns:
        Whether the embedders are tied now.
    """
    first = base.transformer_blocks[0].norm1.emb
    if known is None:
        known = all(_equal_weights(first, block.norm1.emb) for block in base.transformer_blocks[1:])
    if not known:
        return False
    for block in base.transformer_blocks[1:]:
        block.norm1.emb = first
    return True


def _equal_weights(a: nn.Module, b: nn.Module) -> bool:
    return a is b or all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def untied(base: DiTTransformer2DModel) -> DiTTransformer2DModel:
    """A copy in which every block owns its embedder again, as diffusers saves it."""
    base = copy.deepcopy(base)
    first = base.transformer_blocks[0].norm1.emb
    for block in base.transformer_blocks[1:]:
        block.norm1.emb = copy.deepcopy(first)
    return base


def leave_label_dropout_to_the_batches(base: DiTTransformer2DModel) -> None:
    """Switch off diffusers' own label dropout, which draws anew in every block; batches carry the dropped labels."""
    for block in base.transformer_blocks:
        block.norm1.emb.class_embedder.dropout_prob = 0.0


def keep_time_frequencies(base: DiTTransformer2DModel) -> None:
    """Let the time embedding have the frequencies that the configuration says, and the configuration say which it has.

    diffusers divides the exponents by 127 where the original code divides by 128. Its class has no argument for it: a
    checkpoint that was converted from the original code says `downscale_freq_shift: 0` in its configuration.

    Raises:
        UserError: the configuration says another shift than 0 or 1.
    """
    grids = [block.norm1.emb.time_proj for block in base.transformer_blocks]
    shift = base.config.get("downscale_freq_shift", grids[0].downscale_freq_shift)
    if shift not in (0, 1):
        raise UserError(
            f"must be 1 (diffusers) or 0 (the original code), but got {shown(shift)}", field="downscale_freq_shift"
        )
    for grid in grids:
        grid.downscale_freq_shift = shift
    if shift == 0:
        base.register_to_config(downscale_freq_shift=0)


def new_base(config: dict[str, Any], *, seed: int) -> DiTTransformer2DModel:
    """A DiT to be trained from scratch, initialised as in the DiT paper (diffusers' default is not adaLN-Zero)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        base = DiTTransformer2DModel(**config)
        for module in base.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(base.pos_embed.proj.weight.view(base.pos_embed.proj.weight.shape[0], -1))
        nn.init.zeros_(base.pos_embed.proj.bias)
        embedder = base.transformer_blocks[0].norm1.emb
        nn.init.normal_(embedder.class_embedder.embedding_table.weight, std=0.02)
        nn.init.normal_(embedder.timestep_embedder.linear_1.weight, std=0.02)
        nn.init.normal_(embedder.timestep_embedder.linear_2.weight, std=0.02)
    for block in base.transformer_blocks:
        block.norm1.emb = embedder
        nn.init.zeros_(block.norm1.linear.weight)
        nn.init.zeros_(block.norm1.linear.bias)
    for head in (base.proj_out_1, base.proj_out_2):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    return base
