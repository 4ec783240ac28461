"""Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747; MIT licence), through torchvision's downloader."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.datasets import FashionMNIST

from flexsearch.data.images import ImageSet
from flexsearch.errors import UserError

NUM_CLASSES = 10


def load_fashion_mnist(root: Path, *, split: str, size: int) -> ImageSet:
    """Load the 60,000 training or 10,000 test images.

    Args:
        root: torchvision's folder (`root/FashionMNIST/raw/*-ubyte`); filled from the network where it is empty.
        split: "train" or "test".
        size: pixels per side. The originals have 28: smaller sizes are resampled, larger ones get a black border.

    Raises:
        UserError: the images are not there and cannot be downloaded.
    """
    try:
        dataset = FashionMNIST(root, train=split == "train", download=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{root} has no Fashion-MNIST and it could not be downloaded ({reason}); put its four unpacked *-ubyte "
            f"files into {root / 'FashionMNIST' / 'raw'}",
            field="data.root",
        ) from None
    images = dataset.data[:, None]
    border = max(0, size - images.shape[-1]) // 2
    images = F.pad(images, (border,) * 4) if border else resized(images, size)
    return ImageSet(images=images, labels=dataset.targets, num_classes=NUM_CLASSES)


def resized(images: Tensor, size: int) -> Tensor:
    """Resample square uint8 images (N, C, H, W) bilinearly, with antialiasing, to `size` pixels per side."""
    if images.shape[-1] == size:
        return images
    smaller = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return smaller.round().clamp(0, 255).to(torch.uint8)
