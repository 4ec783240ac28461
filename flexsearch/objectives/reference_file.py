"""Reference files: `.npz` with mean and covariance of the real images' features, with the images, or with both.

ADM (Dhariwal & Nichol 2021, github.com/openai/guided-diffusion/tree/main/evaluations) publishes them: `mu` and `sigma`
of Inception's features of a whole data set, and some of its images as `arr_0` (N, H, W, 3) uint8.
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from flexsearch.errors import UserError
from flexsearch.objectives.frechet import FeatureStatistics

T = TypeVar("T")

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
    return _read(path, read_statistics)


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
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return read(arrays)
    except FileNotFoundError:
        reason = (
            "does not exist; it holds mu and sigma of the real images, such as ADM's VIRTUAL_imagenet256_labeled.npz"
        )
    except DAMAGE as error:
        reason = f"cannot be read ({error})"
    raise UserError(reason, field=f"{FIELD}: {path}")
