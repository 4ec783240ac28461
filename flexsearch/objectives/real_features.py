"""Features and statistics of real images: computed once, and kept.

They are kept in `~/.cache/flexsearch/references` (below XDG_CACHE_HOME where that is set), under a hash of what they
are made of: the images and their version on this machine, the extractor and its weights. Protocols leave the version
out: machines that share a study have the same reference. A kept file that is damaged is computed again.
"""

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
from flexsearch.objectives.real_images import FIELD, RealImages
from flexsearch.objectives.reference_file import DAMAGE
from flexsearch.paths import cache_folder

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


def reference_cache() -> Path:
    """Where computed references are kept."""
    return cache_folder("references")


def real_features(images: RealImages, *, extractor: Extractor, batch: int) -> RealFeatures:
    """Features and statistics of real images, from the cache where they are kept and whole.

    Raises:
        UserError: an image is damaged, or the extractor cannot read such images.
    """
    digest = short_digest(
        {
            "format": _FORMAT,
            "images": dict(images.identity),
            "preparation": images.preparation,
            "extractor": extractor.name,
            "weights": extractor.digest,
        }
    )
    path = reference_cache() / f"{digest}-{images.version}.npz"
    kept = _kept(path)
    if kept is None:
        features = extract_features(images, extractor=extractor, batch=batch)
        try:
            kept = features, feature_statistics(features)
        except UserError as error:
            raise error.under(FIELD) from None
        _keep(path, *kept)
    return RealFeatures(features=kept[0], statistics=kept[1], digest=digest, preparation=images.preparation)


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
