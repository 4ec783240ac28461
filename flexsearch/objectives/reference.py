"""What generated images are compared with: statistics and features of real images, computed once and kept.

They are kept in `~/.cache/flexsearch/references` (below XDG_CACHE_HOME where that is set), under a hash of what they
are made of: the images' identity, the extractor and its weights.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.files import replacing
from flexsearch.measurement import short_digest
from flexsearch.objectives.extractors import Extractor
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.frechet import FeatureStatistics, feature_statistics
from flexsearch.objectives.real_images import (
    FIELD,
    FolderImages,
    RealImages,
    Shape,
    TrainingImages,
    check_is_image,
    list_folder,
)
from flexsearch.objectives.reference_file import DAMAGE, ReferenceFile, open_reference_file
from flexsearch.objectives.settings import Metric

TRAINING_DATA = "data"
_FORMAT = 1  # of the kept files, in their hash


@dataclass(frozen=True, kw_only=True)
class RealFeatures:
    """Features of real images and their statistics.

    Attributes:
        features: (N, D) float32.
        statistics: theirs.
        digest: identifies images and extractor.
        preparation: what was done to the images; None if nothing was.
    """

    features: Tensor
    statistics: FeatureStatistics
    digest: str
    preparation: str | None = None

    @property
    def protocol(self) -> dict[str, Any]:
        facts = {"reference": self.digest, "reference_images": len(self.features)}
        return facts if self.preparation is None else {**facts, "reference_preparation": self.preparation}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Real images as one extractor sees them.

    Attributes:
        statistics: of their features.
        protocol: identifies what the statistics are of.
        real: the features, where a metric needs them.
    """

    statistics: FeatureStatistics
    protocol: Mapping[str, Any]
    real: RealFeatures | None = None

    @classmethod
    def of_statistics(cls, statistics: FeatureStatistics) -> "Reference":
        return cls(statistics=statistics, protocol={"reference": statistics.digest})

    @classmethod
    def of_images(cls, real: RealFeatures) -> "Reference":
        return cls(statistics=real.statistics, protocol=real.protocol, real=real)


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A folder of pictures, listed."""

    root: Path
    files: tuple[Path, ...]

    def images(self, shape: Shape) -> FolderImages:
        """Its pictures, brought to `shape` (C, H, W)."""
        check_is_image(shape)
        return FolderImages(root=self.root, files=self.files, shape=shape)


def open_reference(path: Path, *, metrics: Mapping[str, tuple[Metric, ...]]) -> ReferenceFile | ImageFolder:
    """A folder of images or a `.npz` file, checked for what the metrics need.

    Args:
        path: where it is.
        metrics: what is to be measured, by extractor; the objective's extractor first.

    Raises:
        UserError: it is missing, damaged, or has not what the metrics need.
    """
    if path.is_dir():
        return ImageFolder(root=path, files=list_folder(path))
    file = open_reference_file(path)
    own = next(iter(metrics))
    wanting = [f"{metric} on {name}" for name, row in metrics.items() for metric in row if (name, metric) != (own, "frechet")]
    if wanting and not file.has_images:
        raise UserError(
            f"has mu and sigma only, but {', '.join(wanting)} must see the real images: give a folder of images, a "
            f"file with them as arr_0, or the word {TRAINING_DATA}",
            field=f"{FIELD}: {path}",
        )
    return file


def reference_for(
    source: ReferenceFile | ImageFolder | TrainingImages,
    *,
    extractor: Extractor,
    metrics: tuple[Metric, ...],
    shape: Shape,
    batch: int,
    is_objective: bool,
) -> Reference:
    """The reference as `extractor` sees it. A file's own statistics are those of the objective's extractor.

    Args:
        source: the real images.
        extractor: the network.
        metrics: what is to be measured on its features.
        shape: (C, H, W) of the generated images, or (C, F, H, W) of videos.
        batch: images per forward pass.
        is_objective: whether the extractor is the objective's.

    Raises:
        UserError: an image is damaged, or the statistics are another extractor's.
    """
    if isinstance(source, TrainingImages):
        return Reference.of_images(real_features(source, extractor=extractor, batch=batch))
    statistics = source.statistics if isinstance(source, ReferenceFile) and is_objective else None
    if statistics is not None:
        _check_fit(statistics, extractor, source)
        if metrics == ("frechet",):
            return Reference.of_statistics(statistics)
    real = real_features(source.images(shape), extractor=extractor, batch=batch)
    if statistics is None:
        return Reference.of_images(real)
    return Reference(statistics=statistics, protocol=Reference.of_statistics(statistics).protocol, real=real)


def _check_fit(statistics: FeatureStatistics, extractor: Extractor, source: ReferenceFile | ImageFolder) -> None:
    found = len(statistics.mean)
    if extractor.num_features not in {None, found}:
        where = f": {source.path}" if isinstance(source, ReferenceFile) else ""
        raise UserError(
            f"must hold features of {extractor.name} ({extractor.num_features}), but got {found}",
            field=f"{FIELD}{where}",
        )


def reference_cache() -> Path:
    """Where computed references are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "flexsearch" / "references"


def real_features(images: RealImages, *, extractor: Extractor, batch: int) -> RealFeatures:
    """Features and statistics of real images, from the cache where they are kept and whole.

    Raises:
        UserError: an image is damaged, or the extractor cannot read such images.
    """
    key = short_digest(
        {
            "format": _FORMAT,
            "images": dict(images.identity),
            "preparation": images.preparation,
            "extractor": extractor.name,
            "weights": extractor.digest,
        }
    )
    path = reference_cache() / f"{key}.npz"
    kept = _kept(path)
    if kept is None:
        features = extract_features(images, extractor=extractor, batch=batch)
        kept = features, feature_statistics(features)
        _keep(path, *kept)
    return RealFeatures(features=kept[0], statistics=kept[1], digest=key, preparation=images.preparation)


def _keep(path: Path, features: Tensor, statistics: FeatureStatistics) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, features=features.numpy(), mu=statistics.mean, sigma=statistics.covariance)


def _kept(path: Path) -> tuple[Tensor, FeatureStatistics] | None:
    """What `_keep` wrote; None if it is not there or damaged, and has to be computed again."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            features, mean, covariance = arrays["features"], arrays["mu"], arrays["sigma"]
    except DAMAGE:
        return None
    num_features = features.shape[-1]
    if features.ndim != 2 or mean.shape != (num_features,) or covariance.shape != (num_features, num_features):
        return None
    return torch.from_numpy(features), FeatureStatistics(mean=mean, covariance=covariance)
