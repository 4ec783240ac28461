"""The quickstart's images: Fashion-MNIST's 10,000 test images at 16x16, in the package."""

import numpy as np
import torch

from flexsearch.data.fashion_mnist import NUM_CLASSES
from flexsearch.data.images import ImageSet
from flexsearch.paths import embedded_path


def load_quickstart() -> ImageSet:
    """Load the 10,000 images (1, 16, 16) of 10 classes."""
    with np.load(embedded_path("quickstart/images.npz"), allow_pickle=False) as arrays:
        images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]).long()
    return ImageSet(images=images, labels=labels, num_classes=NUM_CLASSES)
