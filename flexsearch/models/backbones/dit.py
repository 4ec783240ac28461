"""Adapter of diffusers' `DiTTransformer2DModel` (Peebles & Xie 2023, arXiv 2212.09748)."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DiTTransformer2DModel
from torch import Tensor, nn

from flexsearch.models.backbones.protocol import BackboneBlock, Modulation
from flexsearch.models.shapes import dit_shape_of
from flexsearch.schedule.grid import TokenGrid


class DiTBlock:
    """One `BasicTransformerBlock` with adaLN-Zero. Holds no weights of its own."""

    def __init__(self, block: nn.Module) -> None:
        self.block = block

    def modulation(self, conditioning: Tensor) -> Modulation:
        norm: Any = self.block.norm1
        vectors = norm.linear(norm.silu(conditioning))  # (B, 6C)
        return Modulation(*(vector[:, None] for vector in vectors.chunk(6, dim=1)))

    def normed(self, tokens: Tensor, modulation: Modulation) -> Tensor:
        norm: Any = self.block.norm1
        normed: Tensor = norm.norm(tokens) * (1 + modulation.scale_mixer) + modulation.shift_mixer
        return normed

    def attend(self, queries: Tensor, keys: Tensor) -> Tensor:
        attention: Any = self.block.attn1
        output: Tensor = attention(queries, encoder_hidden_states=None if keys is queries else keys)
        return output

    def pool(self, tokens: Tensor) -> Tensor:
        attention: Any = self.block.attn1
        output: Tensor = attention.to_out[0](attention.to_v(tokens.mean(dim=1, keepdim=True)))
        return output

    def after_mixer(self, tokens: Tensor, modulation: Modulation) -> Tensor:
        block: Any = self.block
        normed = block.norm3(tokens) * (1 + modulation.scale_mlp) + modulation.shift_mlp
        output: Tensor = modulation.gate_mlp * block.ff(normed) + tokens
        return output


class DiTBackbone:
    """A `DiTTransformer2DModel`, taken apart.

    Takes ownership of `base`: equal embedders become one shared module, and label dropout is left to the batches.
    """

    base_class = DiTTransformer2DModel

    def __init__(self, base: DiTTransformer2DModel, *, tied: bool | None = None) -> None:
        self.base = base
        self.tied = tie_embedders(base, known=tied)
        leave_label_dropout_to_the_batches(base)
        self.shape = dit_shape_of(base.config, num_embedders=1 if self.tied else len(base.transformer_blocks))
        self.blocks: list[BackboneBlock] = [DiTBlock(block) for block in base.transformer_blocks]

    def grid_of(self, sample: Tensor) -> TokenGrid:
        height, width = sample.shape[-2:]
        return TokenGrid(height=height // self.shape.patch_size, width=width // self.shape.patch_size)

    def embed(self, sample: Tensor) -> Tensor:
        tokens: Tensor = self.base.pos_embed(sample)
        return tokens

    def conditioning(self, timestep: Tensor, class_labels: Tensor, tokens: Tensor) -> list[Tensor]:
        blocks = self.base.transformer_blocks
        if self.tied:
            return [blocks[0].norm1.emb(timestep, class_labels, hidden_dtype=tokens.dtype)] * len(blocks)
        return [block.norm1.emb(timestep, class_labels, hidden_dtype=tokens.dtype) for block in blocks]

    def head(self, tokens: Tensor, conditioning: Tensor, grid: TokenGrid) -> Tensor:
        base, patch, channels = self.base, self.shape.patch_size, self.shape.out_channels
        shift, scale = base.proj_out_1(F.silu(conditioning)).chunk(2, dim=1)
        tokens = base.norm_out(tokens) * (1 + scale[:, None]) + shift[:, None]
        pixels = base.proj_out_2(tokens).reshape(-1, grid.height, grid.width, patch, patch, channels)
        pixels = torch.einsum("nhwpqc->nchpwq", pixels)
        output: Tensor = pixels.reshape(-1, channels, grid.height * patch, grid.width * patch)
        return output


def tie_embedders(base: DiTTransformer2DModel, *, known: bool | None = None) -> bool:
    """Makes all blocks share the first block's embedder where they hold identical weights.

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
    """Switches off diffusers' own label dropout, which draws anew in every block; batches carry the dropped labels."""
    for block in base.transformer_blocks:
        block.norm1.emb.class_embedder.dropout_prob = 0.0


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
