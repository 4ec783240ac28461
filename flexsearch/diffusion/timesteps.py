"""Say which diffusion times a training batch sees.

One batch needs one token count, so all its times come from one band of the timetable (arXiv 2412.06028, section 3.3);
over the run, time stays uniform on [0, 1), or as dense as a shifted clock visits it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from flexsearch.schedule.clock import unshifted_time

_GOLDEN_RATIO = 0.6180339887498949


def stage_homogeneous_times(
    update: int, batch: int, *, edges: Sequence[float], generator: torch.Generator, shift: float = 1.0
) -> tuple[Tensor, int]:
    """Times of one batch, all from one band.

    The band of update `u` holds the u-th point of the golden-ratio sequence, so that every run of a few updates
    already visits the bands in proportion to their widths.

    Args:
        update: index of the update, from 0.
        batch: number of times.
        edges: rising band edges in [0, 1], ends included, e.g. (0, 0.25, 0.5, 0.75, 1).
        generator: source of the times inside the band.
        shift: of the sampler's clock: times are as dense as the sampler visits them.

    Returns:
        ((batch,) float32 times in [0, 1), index of the band).
    """
    pivot = ((update + 0.5) * _GOLDEN_RATIO) % 1.0
    unshifted = [unshifted_time(edge, shift) for edge in edges]
    band = max(index for index, edge in enumerate(unshifted[:-1]) if edge <= pivot)
    low, high = unshifted[band], unshifted[band + 1]
    times = low + (high - low) * torch.rand(batch, generator=generator)
    if shift != 1.0:
        times = (shift * times / (1 + (shift - 1) * times)).clamp(min=edges[band], max=edges[band + 1])
    return times.clamp(max=1 - 1e-6), band
