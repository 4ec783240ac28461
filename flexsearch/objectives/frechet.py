"""The Frechet distance of features, through torch-fidelity's own statistics and distance.

Heusel et al. 2017 (arXiv 1706.08500), section "Frechet Inception Distance"; on DINOv2's features Stein et al. 2023
(arXiv 2306.04675), on I3D's features of videos Unterthiner et al. 2018 (arXiv 1812.01717). The distance is biased by
the number of images: compare only at equal numbers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from flexsearch.errors import UserError
from flexsearch.measurement import short_digest


@dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """Mean (D,) and covariance (D, D) of images' features, in float64."""

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def digest(self) -> str:
        """Identify mean and covariance by their sum, trace and size."""
        return short_digest([float(self.mean.sum()), float(np.trace(self.covariance)), self.mean.shape[0]])

    def save(self, path: Path) -> None:
        np.savez_compressed(path, mu=self.mean, sigma=self.covariance)


def feature_statistics(features: Tensor) -> FeatureStatistics:
    """Compute the statistics of features (N, D), the covariance without bias.

    Raises:
        UserError: fewer than two images.
    """
    if len(features) < 2:
        raise UserError(f"needs at least 2 images, but got {len(features)}", nearest=2)
    found = fid_features_to_statistics(features.double())
    return FeatureStatistics(mean=found["mu"], covariance=np.atleast_2d(found["sigma"]))


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Compute the squared Frechet distance of two Gaussians: 0 for equal ones."""
    pairs = [{"mu": side.mean, "sigma": side.covariance} for side in (a, b)]
    return float(fid_statistics_to_metric(*pairs, verbose=False)[KEY_METRIC_FID])
