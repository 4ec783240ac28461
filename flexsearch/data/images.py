"""Images in memory: uint8 as stored, [-1, 1] as models see them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from flexsearch.data.conditions import ClassConditions, Condition


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

    @property
    def conditions(self) -> ClassConditions:
        """Class labels in turn, and "no label"."""
        return ClassConditions(num_classes=self.num_classes)

    def condition(self, indices: Tensor) -> Condition:
        """The labels of the images at `indices`."""
        return self.conditions.of_labels(self.labels[indices])

    def clean(self, indices: Tensor) -> Tensor:
        """(B, C, H, W) float32 in [-1, 1]."""
        return self.images[indices].float() / 127.5 - 1


def tiles(samples: Tensor) -> Tensor:
    """What a grid of ten to a row shows of samples: images (N, C, H, W) as they are; of videos (N, C, F, H, W) ten
    frames each, evenly spaced, one video to a row."""
    if samples.ndim == 4:
        return samples
    shown = torch.linspace(0, samples.shape[2] - 1, 10).round().long()
    frames: Tensor = samples[:, :, shown].transpose(1, 2).flatten(0, 1)
    return frames


def to_uint8(data: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8; what lies outside is clipped."""
    return ((data.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
