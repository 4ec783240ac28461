"""Frechet distance between generated and real images, through torch-fidelity's own statistics and distance.

Heusel et al. 2017 (arXiv 1706.08500). The distance is biased by the number of images: compare only at equal numbers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.utils import get_featuresdict_from_dataset

from flexsearch.errors import UserError
from flexsearch.measurement import Measurement, short_digest
from flexsearch.objectives.extractors import feature_layer, weights_digest
from flexsearch.objectives.settings import fid_name


@dataclass(frozen=True, kw_only=True)
class ReferenceStatistics:
    """Mean (D,) and covariance (D, D) of the real images' features, in float64."""

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def digest(self) -> str:
        return short_digest([float(self.mean.sum()), float(np.trace(self.covariance)), self.mean.shape[0]])

    def save(self, path: Path) -> None:
        np.savez_compressed(path, mu=self.mean, sigma=self.covariance)


def load_reference(path: Path) -> ReferenceStatistics:
    """Reads `mu` and `sigma` from a `.npz` file, ours or one of ADM's.

    Raises:
        UserError: the file is missing, damaged, or lacks one of the two; names it.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean, covariance = (np.asarray(arrays[key], dtype=np.float64) for key in ("mu", "sigma"))
    except FileNotFoundError:
        raise UserError(
            "does not exist; it holds mu and sigma of the real images, such as ADM's VIRTUAL_imagenet256_labeled.npz",
            field=f"objectives.fid.reference: {path}",
        ) from None
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"cannot be read ({error})", field=f"objectives.fid.reference: {path}") from None
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise UserError(
            f"mu must be (D,) and sigma (D, D), but got {mean.shape} and {covariance.shape}",
            field=f"objectives.fid.reference: {path}",
        )
    return ReferenceStatistics(mean=mean, covariance=covariance)


class _Images(Dataset[Tensor]):
    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def image_statistics(
    images: Tensor, *, extractor: FeatureExtractorBase, name: str, batch: int = 100
) -> ReferenceStatistics:
    """Statistics of the features of uint8 images (N, C, H, W).

    Raises:
        UserError: fewer than two images.
    """
    if len(images) < 2:
        raise UserError(f"must be at least 2, but got {len(images)}", field="objectives.fid.images", nearest=2)
    layer = feature_layer(name)
    cuda = next(iter(extractor.state_dict().values())).is_cuda
    threads = torch.get_num_threads()
    features = get_featuresdict_from_dataset(
        _Images(images), extractor, batch_size=batch, cuda=cuda, save_cpu_ram=True, verbose=False
    )[layer]
    torch.set_num_threads(threads)
    statistics = fid_features_to_statistics(features.double())
    return ReferenceStatistics(mean=statistics["mu"], covariance=statistics["sigma"])


def frechet_distance(a: ReferenceStatistics, b: ReferenceStatistics) -> float:
    """The squared Frechet distance of two Gaussians: 0 for equal ones."""
    pairs = [{"mu": side.mean, "sigma": side.covariance} for side in (a, b)]
    return float(fid_statistics_to_metric(*pairs, verbose=False)[KEY_METRIC_FID])


def measure_fid(
    images: Tensor, *, reference: ReferenceStatistics, extractor: FeatureExtractorBase, name: str, batch: int
) -> Measurement:
    """The distance of generated uint8 `images` (N, C, H, W) to the reference; `name` is the extractor's."""
    statistics = image_statistics(images, extractor=extractor, name=name, batch=batch)
    if statistics.mean.shape != reference.mean.shape:
        raise UserError(
            f"must hold features of {name} ({len(statistics.mean)}), but got {len(reference.mean)}",
            field="objectives.fid.reference",
        )
    return Measurement(
        name=fid_name(name),
        value=frechet_distance(statistics, reference),
        unit="1",
        protocol={
            "images": len(images),
            "extractor": name,
            "extractor_weights": weights_digest(extractor),
            "reference": reference.digest,
        },
    )
