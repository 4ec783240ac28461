"""Reference files: `.npz` with mean and covariance of the real images' features, with the images, or with both.

ADM (Dhariwal & Nichol 2021, github.com/openai/guided-diffusion/tree/main/evaluations) publishes them: `mu` and `sigma`
of Inception's features of a whole data set, and some of its images as `arr_0` (N, H, W, 3) uint8.
"""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flexsearch.errors import UserError
from flexsearch.objectives.frechet import FeatureStatistics
from flexsearch.objectives.real_images import FIELD, ArrayImages, Shape, check_is_image

# What numpy raises for damaged files.
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, kw_only=True)
class ReferenceFile:
    """What a file holds; images are read when asked for.

    Attributes:
        path: the file.
        statistics: its `mu` and `sigma`; None if it has only images.
        has_images: whether it has `arr_0`.
    """

    path: Path
    statistics: FeatureStatistics | None
    has_images: bool

    def images(self, shape: Shape) -> ArrayImages:
        """Its images, brought to `shape` (C, H, W).

        Raises:
            UserError: it has none, or they are damaged.
        """
        assert self.has_images
        check_is_image(shape)
        array = read_arrays(self.path, ("arr_0",))["arr_0"]
        if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8 or len(array) < 2:
            raise UserError(
                f"arr_0 must be at least 2 images (N, H, W, 3) of uint8, but got {array.shape} of {array.dtype}",
                field=f"{FIELD}: {self.path}",
            )
        return ArrayImages(array=array, path=self.path, shape=shape)


def read_arrays(path: Path, names: tuple[str, ...]) -> Mapping[str, Any]:
    """Arrays of a `.npz` file; objects in it are refused.

    Raises:
        UserError: the file is missing, damaged, or lacks one; names it.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except FileNotFoundError:
        raise UserError(
            "does not exist; it holds mu and sigma of the real images, such as ADM's VIRTUAL_imagenet256_labeled.npz",
            field=f"{FIELD}: {path}",
        ) from None
    except DAMAGE as error:
        raise UserError(f"cannot be read ({error})", field=f"{FIELD}: {path}") from None


def load_statistics(path: Path) -> FeatureStatistics:
    """Reads `mu` and `sigma`, ours or ADM's.

    Raises:
        UserError: the file is missing, damaged, or lacks one of the two; names it.
    """
    arrays = read_arrays(path, ("mu", "sigma"))
    try:
        mean, covariance = (np.asarray(arrays[name], dtype=np.float64) for name in ("mu", "sigma"))
    except (TypeError, ValueError) as error:
        raise UserError(f"cannot be read ({error})", field=f"{FIELD}: {path}") from None
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UserError(
            f"mu must be (D,) and sigma (D, D), but got {mean.shape} and {covariance.shape}", field=f"{FIELD}: {path}"
        )
    return FeatureStatistics(mean=mean, covariance=covariance)


def open_reference_file(path: Path) -> ReferenceFile:
    """Reads a file's statistics and looks for images.

    Raises:
        UserError: the file is missing, damaged, or has neither; names it.
    """
    names: set[str] = set()
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        pass  # the reading below says it
    has_images = "arr_0" in names
    if has_images and not names & {"mu", "sigma"}:
        return ReferenceFile(path=path, statistics=None, has_images=True)
    return ReferenceFile(path=path, statistics=load_statistics(path), has_images=has_images)
