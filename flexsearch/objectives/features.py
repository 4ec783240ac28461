"""Extraction of features from images, once per extractor.

N: images. D: features. C, H, W: channels and pixels; videos have F frames between C and H.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.utils import get_featuresdict_from_dataset

from flexsearch.errors import UserError
from flexsearch.objectives.extractors import Extractor


class Images(Protocol):
    """Items to extract features of, read when asked for: a tensor is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Tensor:
        """(B, C, H, W), or (B, C, F, H, W), uint8."""


class _Rows(Dataset[Tensor]):
    """Images as torch-fidelity reads them, grey ones in three equal channels where the extractor reads colour."""

    def __init__(self, images: Images, extractor: Extractor) -> None:
        self.images, self.extractor = images, extractor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Tensor:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[Tensor]:
        items = self.images[rows[0] : rows[-1] + 1]  # a loader that does not shuffle asks for neighbours
        if items.shape[1] == 1 and self.extractor.channels == 3:
            items = items.expand(-1, 3, *items.shape[2:])
        return list(items)


def extract_features(images: Images, *, extractor: Extractor, batch: int = 100) -> Tensor:
    """Extract (N, D) float32 features, onto the CPU.

    Args:
        images: (N, C, H, W) uint8, or (N, C, F, H, W) for an extractor of videos.
        extractor: the network.
        batch: images per forward pass.

    Raises:
        UserError: no images, or images that the extractor cannot read.
    """
    if not len(images):
        raise UserError("needs at least 1 image, but got 0", nearest=1)
    _check_fit(images[:1], extractor)
    (layer,) = extractor.network.get_requested_features_list()
    threads = torch.get_num_threads()
    features: Tensor = get_featuresdict_from_dataset(
        _Rows(images, extractor),
        extractor.network,
        batch_size=batch,
        cuda=extractor.device.type == "cuda",
        save_cpu_ram=True,  # reads in this process: images may be decoded on its GPU
        verbose=False,
    )[layer]
    torch.set_num_threads(threads)
    return features.float()


def _check_fit(items: Tensor, extractor: Extractor) -> None:
    wanted = "videos (C, F, H, W)" if extractor.reads_videos else "images (C, H, W)"
    if items.ndim != (5 if extractor.reads_videos else 4):
        raise UserError(
            f"{extractor.name} reads {wanted}, but got {tuple(items.shape[1:])}", field="objectives.quality.extractor"
        )
    if items.shape[1] not in {extractor.channels, 1}:
        raise UserError(
            f"{extractor.name} reads {wanted} of {extractor.channels} channels, but got {items.shape[1]}",
            field="objectives.quality.extractor",
        )
