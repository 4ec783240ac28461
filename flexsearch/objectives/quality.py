"""Quality of generated images: every metric on every extractor's features, which are extracted once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.measurement import Measurement
from flexsearch.objectives.extractors import Extractor
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.frechet import FeatureStatistics, feature_statistics, frechet_distance
from flexsearch.objectives.image_metric import ImageMetric
from flexsearch.objectives.kernel import kernel_distance
from flexsearch.objectives.own_metric import OwnMetric
from flexsearch.objectives.paired_features import PairedFeatures
from flexsearch.objectives.precision_recall import NEIGHBOURHOOD, precision_recall
from flexsearch.objectives.reference import Reference
from flexsearch.objectives.settings import Metric, quality_name


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """Metrics on the features of an extractor, against a reference."""

    extractor: Extractor
    reference: Reference
    metrics: tuple[Metric, ...]

    @property
    def alone(self) -> "Evaluator":
        """The first metric alone."""
        return replace(self, metrics=self.metrics[:1])

    def rows(self, images: Tensor, *, batch: int) -> Tensor:
        """Give what is measured of images, row by row: their features (N, D)."""
        return extract_features(images, extractor=self.extractor, batch=batch)

    def measure(self, rows: Tensor, *, first: int = 0, seed: int = 0) -> list[Measurement]:
        """Measure the metrics of features, in order; of sets, so that neither index nor noise of one matters.

        Raises:
            UserError: too few images, or a reference of another extractor's features.
        """
        return measure_features(rows, evaluator=self)


AnyEvaluator = Evaluator | OwnMetric | ImageMetric | PairedFeatures
"""What measures generated images: it gives rows of them, and measurements of rows."""


def measure_quality(
    images: Tensor, *, evaluators: Sequence[AnyEvaluator], batch: int, seed: int = 0
) -> list[Measurement]:
    """Measure the metrics of generated images, evaluator by evaluator.

    Args:
        images: (N, C, H, W) uint8, or videos (N, C, F, H, W).
        evaluators: what to measure; the objective first.
        batch: images per forward pass of the extractors.
        seed: of the images' noise.

    Raises:
        UserError: too few images, a reference of another extractor's features, or a metric of the user's that failed.
    """
    return [found for one in evaluators for found in one.measure(one.rows(images, batch=batch), seed=seed)]


def measure_features(features: Tensor, *, evaluator: Evaluator) -> list[Measurement]:
    """Measure an evaluator's metrics of features (N, D) of its extractor, in its order.

    Raises:
        UserError: too few images, or a reference of another extractor's features.
    """
    extractor, reference = evaluator.extractor, evaluator.reference
    if features.shape[1:] != reference.statistics.mean.shape:
        raise UserError(
            f"must hold features of {extractor.name} ({features.shape[1]}), but got {len(reference.statistics.mean)}",
            field="objectives.quality.reference",
        )
    facts: dict[str, Any] = {
        "images": len(features),
        "extractor": extractor.name,
        "extractor_weights": extractor.digest,
    }
    ratios: tuple[float, float] | None = None
    measured = []
    for metric in evaluator.metrics:
        protocol, spread = {**facts, **reference.features_protocol}, None
        if metric == "frechet":
            protocol = {**facts, **reference.protocol}
            value = frechet_distance(_statistics(features), reference.statistics)
        elif metric == "kernel":
            distance = kernel_distance(features, _real(reference))
            value, spread = distance.value, distance.spread
            protocol |= {
                "kernel": "(x . y / D + 1)^3",
                "subsets": distance.subsets,
                "subset_size": distance.subset_size,
                "spread": "standard deviation over the subsets",
            }
        else:
            device = extractor.device
            ratios = ratios or precision_recall(features.to(device), _real(reference).to(device))
            value = ratios[0] if metric == "precision" else ratios[1]
            protocol["neighbourhood"] = NEIGHBOURHOOD
        name = quality_name(extractor.name, metric)
        measured.append(Measurement(name=name, value=value, unit="1", spread=spread, protocol=protocol))
    return measured


def _real(reference: Reference) -> Tensor:
    assert reference.features is not None
    return reference.features


def _statistics(features: Tensor) -> FeatureStatistics:
    try:
        return feature_statistics(features)
    except UserError as error:
        raise error.under("objectives.quality.images") from None
