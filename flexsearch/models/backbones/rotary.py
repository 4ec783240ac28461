"""Rotary embedding at places that need not be whole (RoPE, Su et al. 2021, arXiv 2104.09864), by complex numbers or by
cosine and sine, as the base computes it: they round in other ways.

Letters: B batch, R rows of places (1 or B), n tokens, C width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def complex_table(places: Tensor, axes: Sequence[int], *, theta: float, dtype: torch.dtype) -> Tensor:
    """(R, n, C / heads / 2) complex64 rotations of places (R, n, axes).

    Args:
        places: of tokens, a coordinate per axis.
        axes: channels of a head that an axis rotates.
        theta: base of the frequencies, `theta^(-2i / channels)`.
        dtype: that angles are computed in.
    """
    tables = []
    for axis, channels in enumerate(axes):
        exponents = torch.arange(0, channels, 2, device=places.device).to(dtype) / channels
        angles = (places[..., axis, None].to(dtype) * (1.0 / torch.pow(theta, exponents))).float()
        tables.append(torch.polar(torch.ones_like(angles), angles))
    return torch.cat(tables, dim=-1)


def rotated(rows: Tensor, table: Tensor) -> Tensor:
    """Queries or keys (B, n, heads, C / heads), rotated by (R, n, C / heads / 2)."""
    pairs = torch.view_as_complex(rows.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table.unsqueeze(2)).flatten(3).type_as(rows)


RealTable = tuple[Tensor, Tensor]
"""Cosine and sine of every pair of channels of a head, each (R, 1, n, C / heads / 2)."""


def real_table(places: Tensor, axes: Sequence[int], *, theta: float) -> RealTable:
    """Cosine and sine at places (R, n, axes), of angles in float64; arguments as of `complex_table`."""
    angles = []
    for axis, channels in enumerate(axes):
        exponents = torch.arange(0, channels, 2, dtype=torch.float64, device=places.device) / channels
        angles.append(places[:, None, :, axis, None].double() * (1.0 / theta**exponents))
    angle = torch.cat(angles, dim=-1)
    return angle.cos().float(), angle.sin().float()


def turned(rows: Tensor, table: RealTable) -> Tensor:
    """Queries or keys (B, heads, n, C / heads), rotated."""
    cos, sin = table
    first, second = rows.unflatten(-1, (-1, 2)).unbind(-1)
    pairs = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return pairs.flatten(-2).type_as(rows)
