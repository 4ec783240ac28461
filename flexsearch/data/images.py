"""Images in memory: uint8 as stored, [-1, 1] as models see them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flexsearch.data.identity import array_digest
from flexsearch.data.labelled import Labelled
from flexsearch.errors import NotFiniteError


@dataclass(frozen=True, kw_only=True)
class ImageSet(Labelled):
    """Labelled images, a `DataSource`.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64 class labels.
        num_classes: labels are below this.
    """

    images: Tensor
    labels: Tensor
    num_classes: int

    def clean(self, indices: Tensor) -> Tensor:
        """(B, C, H, W) float32 in [-1, 1]."""
        return self.images[indices].float() / 127.5 - 1

    @property
    def digest(self) -> str:
        """Identify the contents, by all of them."""
        return array_digest(self.images.contiguous().numpy().data, self.labels.contiguous().numpy().data)


_TILES = 10  # to a row


def tiles(samples: Tensor) -> Tensor:
    """Choose what a grid of ten to a row shows: images (N, C, H, W) as they are; of videos (N, C, F, H, W) ten frames
    each, evenly spaced, or all and zeros behind them, one video to a row."""
    if samples.ndim == 4:
        return samples
    num = min(_TILES, samples.shape[2])
    shown = torch.linspace(0, samples.shape[2] - 1, num).round().long()
    row = torch.nn.functional.pad(samples[:, :, shown], (0, 0, 0, 0, 0, _TILES - num))
    frames: Tensor = row.transpose(1, 2).flatten(0, 1)
    return frames


def to_uint8(data: Tensor) -> Tensor:
    """Convert images in [-1, 1] to uint8; values outside are clipped.

    Raises:
        NotFiniteError: some values are not finite: there is no such picture.
    """
    if not torch.isfinite(data).all():
        raise NotFiniteError("samples are not finite: the weights or the scheduler give numbers without a value")
    return ((data.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
