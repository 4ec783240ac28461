"""References: features and statistics of real images, as one extractor sees them, computed once and kept.

They are kept in `~/.cache/flexsearch/references` (below XDG_CACHE_HOME where that is set), under a hash of what they
are made of: the images and their version on this machine, the extractor and its weights. Protocols leave the version
out: machines that share a study have the same reference. A kept file that is damaged is computed again.

N: real images. D: features.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flexsearch.errors import UserError, reading
from flexsearch.files import write_to_cache
from flexsearch.measurement import short_digest
from flexsearch.objectives.extractors import Extractor
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.frechet import FeatureStatistics, feature_statistics
from flexsearch.objectives.precision_recall import NEIGHBOURHOOD
from flexsearch.objectives.real_images import ArrayImages, FolderImages, RealImages, Shape, list_folder
from flexsearch.objectives.reference_file import (
    FIELD,
    array_names,
    load_images,
    load_statistics,
    read_statistics,
)
from flexsearch.objectives.settings import TRAINING_DATA, Metric
from flexsearch.paths import cache_folder

_FORMAT = 1  # of the kept files, in their hash


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What generated images are compared with.

    Attributes:
        statistics: of the real images' features.
        protocol: identifies what the statistics are of.
        features: (N, D) float32, where a metric needs them.
        features_protocol: identifies what the features are of.
        seconds: that drawing or reading the images and their features took, when they were not kept yet.
    """

    statistics: FeatureStatistics
    protocol: Mapping[str, Any]
    features: Tensor | None = None
    features_protocol: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def of_statistics(cls, statistics: FeatureStatistics) -> "Reference":
        return cls(statistics=statistics, protocol={"reference": statistics.digest})


@dataclass(frozen=True, kw_only=True)
class ReferenceSource:
    """A folder of pictures or a `.npz` file, listed but not read.

    Attributes:
        path: of the folder or the file.
        files: the folder's pictures, as paths below it.
        statistics: the file's, of features of the objective's extractor; None if it has only images.
    """

    path: Path
    files: tuple[Path, ...] = ()
    statistics: FeatureStatistics | None = None

    def images(self, shape: Shape) -> RealImages:
        """Open the images, brought to `shape` (C, H, W).

        Raises:
            UserError: samples are videos, or the images are damaged.
        """
        if len(shape) != 3:
            raise UserError(
                f"pictures cannot be the reference of videos {shape}; give mu and sigma, or the word {TRAINING_DATA}",
                field=FIELD,
            )
        if self.files:
            return FolderImages(root=self.path, files=self.files, shape=shape)
        return ArrayImages(array=load_images(self.path), path=self.path, shape=shape)


def open_reference(path: Path, *, metrics: Mapping[str, tuple[Metric, ...]]) -> ReferenceSource:
    """Open a folder of pictures or a `.npz` file, and check that it has what the metrics need.

    Args:
        path: where it is.
        metrics: what is to be measured, by extractor; the objective's extractor first.

    Raises:
        UserError: it is missing, damaged, or has not what the metrics need.
    """
    if path.is_dir():
        return ReferenceSource(path=path, files=list_folder(path))
    names, objective = array_names(path), next(iter(metrics))
    need_images = [
        f"{metric} on {name}"
        for name, row in metrics.items()
        for metric in row
        if (name, metric) != (objective, "frechet")
    ]
    if "arr_0" in names and not names & {"mu", "sigma"}:
        return ReferenceSource(path=path)
    statistics = load_statistics(path)
    if need_images and "arr_0" not in names:
        raise UserError(
            f"has mu and sigma only, but {', '.join(need_images)} must see the real images: give a folder of images, a "
            f"file with them as arr_0, or the word {TRAINING_DATA}",
            field=f"{FIELD}: {path}",
        )
    return ReferenceSource(path=path, statistics=statistics)


def reference_for(
    source: ReferenceSource | RealImages,
    *,
    extractor: Extractor,
    metrics: tuple[Metric, ...],
    shape: Callable[[], Shape],
    batch: int,
    is_objective: bool,
) -> Reference:
    """Load the reference as `extractor` sees it. A file's own statistics are those of the objective's extractor.

    Args:
        source: the images, or where they are.
        extractor: the network.
        metrics: what is to be measured on its features.
        shape: gives (C, H, W) of the generated images, or (C, F, H, W) of videos; asked where it is needed.
        batch: images per forward pass.
        is_objective: whether the extractor is the objective's.

    Raises:
        UserError: an image is damaged, or the statistics are another extractor's.
    """
    statistics = None
    if isinstance(source, ReferenceSource) and is_objective and source.statistics is not None:
        statistics = source.statistics
        if extractor.num_features not in {None, len(statistics.mean)}:
            raise UserError(
                f"must hold features of {extractor.name} ({extractor.num_features}), but got {len(statistics.mean)}",
                field=f"{FIELD}: {source.path}",
            )
        if metrics == ("frechet",):
            return Reference.of_statistics(statistics)
    images = source.images(shape()) if isinstance(source, ReferenceSource) else source
    found = reference_of_images(images, extractor=extractor, batch=batch)
    num_images = found.features_protocol["reference_images"]
    if num_images <= NEIGHBOURHOOD and {"precision", "recall"} & set(metrics):
        raise UserError(
            f"must be at least {NEIGHBOURHOOD + 1} images for precision and recall, but got {num_images}",
            field=FIELD,
            nearest=NEIGHBOURHOOD + 1,
        )
    if statistics is None:
        return found
    return replace(found, statistics=statistics, protocol=Reference.of_statistics(statistics).protocol)


def reference_of_images(images: RealImages, *, extractor: Extractor, batch: int) -> Reference:
    """Compute features and statistics of real images, or take them from the cache where they are kept and whole.

    Raises:
        UserError: an image is damaged, or the extractor cannot read such images.
    """
    identity = {
        "format": _FORMAT,
        "images": dict(images.identity),
        "preparation": images.preparation,
        "extractor": extractor.name,
        "weights": extractor.digest,
    }
    digest = short_digest(identity)
    path = cache_folder("references") / f"{digest}-{images.version}.npz"
    kept = _kept(path)
    if kept is None:
        begun = time.monotonic()
        features = extract_features(images, extractor=extractor, batch=batch)
        try:
            statistics, seconds = feature_statistics(features), round(time.monotonic() - begun, 3)
        except UserError as error:
            raise error.under(FIELD) from None
        arrays: dict[str, Any] = {
            "features": features.numpy(),
            "mu": statistics.mean,
            "sigma": statistics.covariance,
            "seconds": seconds,
        }
        write_to_cache(path, lambda temporary: np.savez(temporary, **arrays))
    else:
        features, statistics, seconds = kept
    protocol: dict[str, Any] = {"reference": digest, "reference_images": len(features)}
    if images.preparation is not None:
        protocol["reference_preparation"] = images.preparation
    return Reference(
        statistics=statistics, protocol=protocol, features=features, features_protocol=protocol, seconds=seconds
    )


def _kept(path: Path) -> tuple[Tensor, FeatureStatistics, float] | None:
    """Read a kept reference and the seconds that it took; None if it is not there or damaged."""
    try:
        with reading(path), np.load(path, allow_pickle=False) as arrays:
            features, statistics = torch.from_numpy(arrays["features"]), read_statistics(arrays)
            seconds = float(arrays["seconds"]) if "seconds" in arrays else 0.0  # there since 0.2
    except UserError:
        return None
    return (features, statistics, seconds) if features.shape[1:] == statistics.mean.shape else None
