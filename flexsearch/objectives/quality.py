"""How good generated images are: every metric on every extractor's features, each extracted once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.measurement import Measurement
from flexsearch.objectives.extractors import Extractor
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.frechet import feature_statistics, frechet_distance
from flexsearch.objectives.kernel import kernel_distance
from flexsearch.objectives.precision_recall import NEIGHBOURHOOD, precision_recall
from flexsearch.objectives.real_features import RealFeatures
from flexsearch.objectives.reference import Reference
from flexsearch.objectives.settings import Metric, quality_name


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """An extractor, the real images as it sees them, and what is measured on its features."""

    extractor: Extractor
    reference: Reference
    metrics: tuple[Metric, ...]


def measure_quality(images: Tensor, *, evaluators: Sequence[Evaluator], batch: int) -> list[Measurement]:
    """Measure every evaluator's metrics of generated images, in the evaluators' order.

    Args:
        images: (N, C, H, W) uint8, or videos (N, C, F, H, W).
        evaluators: what to measure; the objective first.
        batch: images per forward pass of the extractors.

    Raises:
        UserError: too few images, or a reference of another extractor's features.
    """
    return [
        found
        for evaluator in evaluators
        for found in measure_features(
            extract_features(images, extractor=evaluator.extractor, batch=batch), evaluator=evaluator
        )
    ]


def measure_features(features: Tensor, *, evaluator: Evaluator) -> list[Measurement]:
    """One judge's metrics of features (N, D) of its own extractor, in its order.

    Raises:
        UserError: too few images, or a reference of another extractor's features.
    """
    extractor, reference = evaluator.extractor, evaluator.reference
    if features.shape[1:] != reference.statistics.mean.shape:
        raise UserError(
            f"must hold features of {extractor.name} ({features.shape[1]}), but got {len(reference.statistics.mean)}",
            field="objectives.quality.reference",
        )
    facts = {"images": len(features), "extractor": extractor.name, "extractor_weights": extractor.digest}
    ratios: tuple[float, float] | None = None
    measured = []
    for metric in evaluator.metrics:
        if metric == "frechet":
            found = _frechet(features, reference, facts, extractor.name)
        elif metric == "kernel":
            found = _kernel(features, _real(evaluator), facts, extractor.name)
        else:
            ratios = ratios or precision_recall(
                features.to(extractor.device), _real(evaluator).features.to(extractor.device)
            )
            value = ratios[0] if metric == "precision" else ratios[1]
            protocol = {**facts, **_real(evaluator).protocol, "neighbourhood": NEIGHBOURHOOD}
            found = Measurement(name=quality_name(extractor.name, metric), value=value, unit="1", protocol=protocol)
        measured.append(found)
    return measured


def _real(evaluator: Evaluator) -> RealFeatures:
    assert evaluator.reference.real is not None
    return evaluator.reference.real


def _frechet(features: Tensor, reference: Reference, facts: Mapping[str, Any], name: str) -> Measurement:
    try:
        statistics = feature_statistics(features)
    except UserError as error:
        raise error.under("objectives.quality.images") from None
    return Measurement(
        name=quality_name(name, "frechet"),
        value=frechet_distance(statistics, reference.statistics),
        unit="1",
        protocol={**facts, **reference.protocol},
    )


def _kernel(features: Tensor, real: RealFeatures, facts: Mapping[str, Any], name: str) -> Measurement:
    found = kernel_distance(features, real.features)
    return Measurement(
        name=quality_name(name, "kernel"),
        value=found.value,
        unit="1",
        spread=found.spread,
        protocol={
            **facts,
            **real.protocol,
            "kernel": "(x . y / D + 1)^3",
            "subsets": found.subsets,
            "subset_size": found.subset_size,
            "spread": "standard deviation over the subsets",
        },
    )
