"""adaLN-single: one modulation for all blocks, shifted by a table per block (PixArt-alpha, arXiv 2310.00426, 2.3).

PixArt-alpha, Latte, SANA and Wan share it. Letters: B batch, C width.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from flexsearch.models.backbones.modulation import Modulation


def modulations_of(shared: Tensor, base_blocks: Any, blocks: Sequence[int]) -> dict[int, Modulation]:
    """The modulation of those of diffusers' blocks that are computed, from the shared (B, 6C)."""
    rows = shared.unflatten(1, (6, -1))  # (B, 6, C)
    return {block: Modulation(*(base_blocks[block].scale_shift_table + rows).chunk(6, dim=1)) for block in blocks}


def modulated_output(base: Any, normed: Tensor, embedding: Tensor) -> Tensor:
    """(..., C) -> (..., P) modulation and projection after the final norm; `embedding` is broadcast to the tokens."""
    shift, scale = (base.scale_shift_table[None] + embedding[:, None]).chunk(2, dim=1)
    projected: Tensor = base.proj_out(normed * (1 + scale) + shift)
    return projected
