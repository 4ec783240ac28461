"""Adapter of diffusers' `DiTTransformer2DModel` (Peebles & Xie 2023, arXiv 2212.09748)."""

from typing import Any

import torch
from diffusers import DiTTransformer2DModel
from torch import nn


def tie_embedders(base: DiTTransformer2DModel) -> bool:
    """Makes all blocks share the first block's embedder where they hold identical weights.

    diffusers gives every block its own copy of the timestep and class embedder; in the public checkpoints the copies
    are equal. Tied, they are computed, stored and trained once. The base's outputs do not change.

    Returns:
        Whether the embedders are tied now.
    """
    first = base.transformer_blocks[0].norm1.emb
    for block in base.transformer_blocks[1:]:
        same = all(
            torch.equal(a, b) for a, b in zip(first.parameters(), block.norm1.emb.parameters(), strict=True)
        )
        if not same:
            return False
    for block in base.transformer_blocks[1:]:
        block.norm1.emb = first
    return True


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
