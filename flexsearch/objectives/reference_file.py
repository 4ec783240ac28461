"""Reference files: `.npz` with mean and covariance of the real images' features, with the images, or with both.

ADM (Dhariwal & Nichol 2021, github.com/openai/guided-diffusion/tree/main/evaluations) publishes them: `mu` and `sigma`
of Inception's features of a whole data set, and some of its images as `arr_0` (N, H, W, 3) uint8.
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flexsearch.errors import UserError
from flexsearch.objectives.frechet import FeatureStatistics

FIELD = "objectives.quality.reference"

DAMAGE = (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What numpy raises for damaged files, and for arrays of another kind."""


def read_statistics(arrays: Mapping[str, np.ndarray]) -> FeatureStatistics:
    """Read `mu` (D,) and `sigma` (D, D); raises one of `DAMAGE` where they are not that."""
    mean, covariance = (np.asarray(arrays[name], dtype=np.float64) for name in ("mu", "sigma"))
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise ValueError(f"mu must be (D,) and sigma (D, D), but got {mean.shape} and {covariance.shape}")
    return FeatureStatistics(mean=mean, covariance=covariance)


def load_statistics(path: Path) -> FeatureStatistics:
    """Load the statistics of a file, ours or ADM's.

    Raises:
        UserError: the file is missing, damaged, or lacks one of the two; names it.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return read_statistics(arrays)
    except DAMAGE as error:
        raise _unreadable(path, error) from None


def load_images(path: Path) -> np.ndarray:
    """Load `arr_0`, (N, H, W, 3) uint8.

    Raises:
        UserError: it is damaged, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images: np.ndarray = arrays["arr_0"]
    except DAMAGE as error:
        raise _unreadable(path, error) from None
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or len(images) < 2:
        raise UserError(
            f"arr_0 must be at least 2 images (N, H, W, 3) of uint8, but got {images.shape} of {images.dtype}",
            field=f"{FIELD}: {path}",
        )
    return images


def array_names(path: Path) -> frozenset[str]:
    """List what a file holds; nothing where it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return frozenset(arrays.files)
    except DAMAGE:
        return frozenset()


def _unreadable(path: Path, error: Exception) -> UserError:
    said = f"cannot be read ({error})"
    if isinstance(error, FileNotFoundError):
        said = "does not exist; it holds mu and sigma of the real images, such as ADM's VIRTUAL_imagenet256_labeled.npz"
    return UserError(said, field=f"{FIELD}: {path}")
