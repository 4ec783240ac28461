"""The small classifier of Fashion-MNIST that ships with the package; its distance is called `fid_fashion_cnn`."""

from pathlib import Path

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from flexsearch.data.fashion_mnist import resized
from flexsearch.paths import embedded_path

FASHION_FEATURES = 128


class FashionClassifier(nn.Module):
    """A small convolutional classifier of 16x16 grey images; (B, 1, 16, 16) in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((1, 32, 1), (32, 64, 2), (64, 96, 1), (96, 128, 2)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        self.project = nn.Linear(128 * 4 * 4, FASHION_FEATURES)
        self.classify = nn.Linear(FASHION_FEATURES, 10)

    def features(self, images: Tensor) -> Tensor:
        """(B, 128) features."""
        return F.silu(self.project(self.body(images).flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 10) logits."""
        logits: Tensor = self.classify(self.features(images))
        return logits


class FashionFeatures(nn.Module):
    """`FashionClassifier`'s features of uint8 images (B, 1, H, W).

    28x28 and 32x32 images (28 with a black border of 2) are brought to 16x16 exactly as the 16x16 data set is made.

    Args:
        weights: a safetensors file; None takes the shipped one.
    """

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        self.classifier = FashionClassifier()
        self.classifier.load_state_dict(load_file(weights or embedded_path("quickstart/extractor.safetensors")))
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-1] == 32:
            images = images[..., 2:-2, 2:-2]
        if images.shape[-1] == 28:
            images = resized(images, 16)
        return self.classifier.features(images.float() / 127.5 - 1)
