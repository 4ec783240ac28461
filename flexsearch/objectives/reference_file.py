"""Reference files: `.npz` with mean and covariance of the real images' features, with the images, or with both.

ADM (Dhariwal & Nichol 2021, github.com/openai/guided-diffusion/tree/main/evaluations) publishes them: `mu` and `sigma`
of Inception's features of a whole data set, and some of its images as `arr_0` (N, H, W, 3) uint8.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from flexsearch.errors import UserError, reading
from flexsearch.objectives.frechet import FeatureStatistics

T = TypeVar("T")

FIELD = "objectives.quality.reference"

_MOST_NEGATIVE = 1e-3  # eigenvalue over the largest: rounding to float32 leaves less


def read_statistics(arrays: Mapping[str, np.ndarray]) -> FeatureStatistics:
    """Read `mu` (D,) and `sigma` (D, D).

    Raises:
        UserError: they are not that, or not finite.
    """
    for name in ("mu", "sigma"):
        if arrays[name].dtype.kind not in "fiu":
            raise UserError(f"{name} must hold real numbers, but holds {arrays[name].dtype}")
    mean, covariance = (np.asarray(arrays[name], dtype=np.float64) for name in ("mu", "sigma"))
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UserError(f"mu must be (D,) and sigma (D, D), but got {mean.shape} and {covariance.shape}")
    for name, values in (("mu", mean), ("sigma", covariance)):
        if not np.isfinite(values).all():
            raise UserError(f"{name} holds numbers that are not finite")
    return FeatureStatistics(mean=mean, covariance=covariance)


def load_statistics(path: Path) -> FeatureStatistics:
    """Load the statistics of a file, ours or ADM's.

    Raises:
        UserError: the file is missing, damaged, lacks one of the two, or sigma is no covariance; names it.
    """
    found = _read(path, read_statistics)
    covariance = found.covariance
    if len(covariance):
        with reading(f"{FIELD}: {path}"):
            eigenvalues = np.linalg.eigvalsh(covariance)
            if eigenvalues[0] < -_MOST_NEGATIVE * abs(eigenvalues[-1]):
                raise UserError(f"sigma must be a covariance, but has the negative eigenvalue {eigenvalues[0]:.3g}")
            if not np.allclose(covariance, covariance.T, rtol=0, atol=_MOST_NEGATIVE * np.abs(covariance).max()):
                raise UserError("sigma must be a covariance, but is not symmetric")
    return found


def load_images(path: Path) -> np.ndarray:
    """Load `arr_0`, (N, H, W, 3) uint8.

    Raises:
        UserError: it is damaged, or holds something else.
    """
    images: np.ndarray = _read(path, lambda arrays: arrays["arr_0"])
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or len(images) < 2:
        raise UserError(
            f"arr_0 must be at least 2 images (N, H, W, 3) of uint8, but got {images.shape} of {images.dtype}",
            field=f"{FIELD}: {path}",
        )
    return images


def array_names(path: Path) -> frozenset[str]:
    """List the arrays of a file.

    Raises:
        UserError: the file is missing or damaged; names it.
    """
    return _read(path, frozenset)


def _read(path: Path, read: Callable[[Mapping[str, np.ndarray]], T]) -> T:
    if not path.exists():
        raise UserError(
            "does not exist; it holds mu and sigma of the real images, such as ADM's VIRTUAL_imagenet256_labeled.npz",
            field=f"{FIELD}: {path}",
        )
    with reading(f"{FIELD}: {path}"), np.load(path, allow_pickle=False) as arrays:
        return read(arrays)
