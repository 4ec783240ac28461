"""Images in memory: uint8 as stored, [-1, 1] as models see them."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Labelled images, a `DataSource`.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64 class labels.
        num_classes: labels are below this.
    """

    images: Tensor
    labels: Tensor
    num_classes: int

    def __len__(self) -> int:
        return len(self.images)

    def clean(self, indices: Tensor) -> Tensor:
        """(B, C, H, W) float32 in [-1, 1]."""
        return self.images[indices].float() / 127.5 - 1


def to_uint8(data: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8; what lies outside is clipped."""
    return ((data.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
