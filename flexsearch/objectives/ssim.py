"""Structural similarity of pairs of images (Wang et al. 2004), the mean over channels, places and images.

Its own window: Gaussian, 11 x 11 pixels, sigma 1.5, only where it lies inside the image; smaller in images of fewer
pixels. C1 = 0.01^2 and C2 = 0.03^2, of values in [0, 1]. What is minimised is dissimilarity, `dssim` = (1 - SSIM) / 2;
equal images count as 1e-6.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from flexsearch.objectives.image_metric import Kind, as_pictures, per_item

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2
_LEAST = 1e-6


def structural_similarity(images: Tensor, others: Tensor) -> Tensor:
    """Give (B,) similarities in [-1, 1] of uint8 images (B, C, H, W), or videos (B, C, F, H, W)."""
    (x, frames), (y, _) = as_pictures(images), as_pictures(others)
    x, y = x.double(), y.double()  # variances are differences of means
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    likeness = likeness / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))
    return per_item(likeness.flatten(1).mean(dim=1), frames)


def _blurred(pictures: Tensor) -> Tensor:
    """Take weighted means (B, C, H - 10, W - 10) over the window."""
    channels = pictures.shape[1]
    for dim in (2, 3):
        side = min(_WINDOW, pictures.shape[dim] - (pictures.shape[dim] + 1) % 2)
        away = torch.arange(side, device=pictures.device, dtype=pictures.dtype) - side // 2
        weights = torch.exp(-(away**2) / (2 * _SIGMA**2))
        shape = (channels, 1, side, 1) if dim == 2 else (channels, 1, 1, side)
        kernel = (weights / weights.sum()).view(1, 1, *shape[2:]).expand(shape)
        pictures = F.conv2d(pictures, kernel, groups=channels)
    return pictures


def _describe(similarity: float) -> Sequence[tuple[str, float, str]]:
    return ("dssim", max((1 - similarity) / 2, _LEAST), "1"), ("ssim", similarity, "1")


SSIM = Kind(
    load=lambda *_: structural_similarity,
    compares="images",
    describe=_describe,
    protocol={"window": f"Gaussian, {_WINDOW}x{_WINDOW}, sigma {_SIGMA}"},
)
