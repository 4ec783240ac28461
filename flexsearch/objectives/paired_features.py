"""Paired distance: how far samples are from the dense base's converged ones of the same noise, by their features."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from flexsearch.measurement import Measurement
from flexsearch.objectives.extractors import Extractor
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.settings import PAIRED_DISTANCE

_LEAST = 1e-6  # logarithms are taken of an objective


@dataclass(frozen=True, kw_only=True)
class PairedFeatures:
    """The paired distance of a run, as `flexsearch.objectives.quality.Evaluator`.

    Attributes:
        extractor: the network.
        pairs: from a seed and a number to so many images that the base draws from that seed's noise.
        paired_with: what these are, for protocols.
        batch: images per forward pass.
    """

    extractor: Extractor
    pairs: Callable[[int, int], Tensor]
    paired_with: str
    batch: int

    @property
    def alone(self) -> "PairedFeatures":
        """The objective alone."""
        return self

    def rows(self, images: Tensor, *, batch: int) -> Tensor:
        """Give what is measured of images, row by row: their features (N, D)."""
        return extract_features(images, extractor=self.extractor, batch=batch)

    def measure(self, rows: Tensor, *, first: int = 0, seed: int = 0) -> list[Measurement]:
        """Measure features; `first` is the index of the first image, `seed` that of the noise."""
        last = first + len(rows)
        images = self.pairs(seed, last)[first:last]
        reference = extract_features(images, extractor=self.extractor, batch=self.batch)
        found = measured(rows, reference, extractor=self.extractor, paired_with=self.paired_with)
        return [replace(found, value=max(found.value, _LEAST))]


def measured(features: Tensor, reference: Tensor, *, extractor: Extractor, paired_with: str) -> Measurement:
    """Give the measurement, of the rows that both have."""
    return Measurement(
        name=PAIRED_DISTANCE,
        value=paired_distance(features, reference),
        unit="1",
        protocol={
            "images": min(len(features), len(reference)),
            "extractor": extractor.name,
            "extractor_weights": extractor.digest,
            "from": f"{paired_with}, from the same noise",
        },
    )


def paired_distance(features: Tensor, reference: Tensor) -> float:
    """Compute the root mean squared distance of features to a reference, row by row, over that of unrelated rows of it.

    Args:
        features: (M, D) of some model's samples.
        reference: (N, D) of the dense base's from the same noise; the rows that both have are compared.

    Returns:
        0 for the same samples; 1 is as far as independent samples of the dense base are from each other.
    """
    both, reference = min(len(features), len(reference)), reference.double()
    apart = (features[:both].cpu().double() - reference[:both]).square().sum(dim=1).mean()
    unrelated = 2.0 * reference.var(dim=0).sum()
    return float((apart / unrelated).sqrt())
