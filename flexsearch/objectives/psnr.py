"""Peak signal-to-noise ratio of pairs of images, in dB, of values in [0, 1]: -10 log10 of the mean squared error over
all pixels of all images. What is minimised is that error, `paired_mse`. Equal images count as 100 dB."""

import math
from collections.abc import Sequence

from torch import Tensor

from flexsearch.objectives.image_metric import Kind

_LEAST = 1e-10


def squared_errors(images: Tensor, others: Tensor) -> Tensor:
    """Give (B,) mean squared errors of uint8 images (B, ...), as values in [0, 1]."""
    return ((images.float() - others.float()) / 255).square().flatten(1).mean(dim=1)


def _describe(error: float) -> Sequence[tuple[str, float, str]]:
    error = max(error, _LEAST)
    return ("paired_mse", error, "1"), ("psnr", -10 * math.log10(error), "dB")


PSNR = Kind(load=lambda *_: squared_errors, compares="images", describe=_describe)
