"""Extraction of features from images, once per extractor.

N: images. D: features. C, H, W: channels and pixels; videos have F frames between C and H.
"""

from typing import Protocol

import torch
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.objectives.extractors import Extractor
from flexsearch.objectives.settings import SIDES


class Images(Protocol):
    """Items to extract features of, read when asked for: a tensor is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Tensor:
        """(B, C, H, W), or (B, C, F, H, W), uint8."""


@torch.no_grad()
def extract_features(images: Images, *, extractor: Extractor, batch: int = 100) -> Tensor:
    """Extract (N, D) float32 features, onto the CPU. Grey images have three equal channels for an extractor of colour.

    Args:
        images: (N, C, H, W) uint8, or (N, C, F, H, W) for an extractor of videos.
        extractor: the network.
        batch: images per forward pass.

    Raises:
        UserError: no images, or images that the extractor cannot read.
    """
    if not len(images):
        raise UserError("needs at least 1 image, but got 0", nearest=1)
    features = []
    for start in range(0, len(images), batch):
        items = images[start : start + batch]
        _check_fit(items, extractor)
        items = items.expand(-1, extractor.channels, *items.shape[2:])
        features.append(extractor.network(items.to(extractor.device)).cpu())
    return torch.cat(features).float()


def _check_fit(items: Tensor, extractor: Extractor) -> None:
    wanted = "videos (C, F, H, W)" if extractor.reads_videos else "images (C, H, W)"
    if items.ndim != (5 if extractor.reads_videos else 4):
        raise UserError(
            f"{extractor.name} reads {wanted}, but got {tuple(items.shape[1:])}", field="objectives.quality.extractor"
        )
    sides = SIDES.get(extractor.name, ())
    if sides and not items.shape[-2] == items.shape[-1] in sides:
        raise UserError(
            f"{extractor.name} reads images of {', '.join(map(str, sides))} pixels per side, but got "
            f"{items.shape[-2]}x{items.shape[-1]}",
            field="objectives.quality.extractor",
        )
    if items.shape[1] not in {extractor.channels, 1}:
        raise UserError(
            f"{extractor.name} reads {wanted} of {extractor.channels} channels, but got {items.shape[1]}",
            field="objectives.quality.extractor",
        )
