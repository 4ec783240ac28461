"""The evaluators of a run: each extractor that its settings name, with the reference as that extractor sees it."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flexsearch.data.conditions import ClassConditions, Conditions
from flexsearch.data.source import DataSource
from flexsearch.errors import UserError
from flexsearch.files import file_sha256
from flexsearch.models.loading import Base
from flexsearch.objectives.extractors import Extractor, create_extractor
from flexsearch.objectives.own_metric import OwnMetric
from flexsearch.objectives.quality import Evaluator
from flexsearch.objectives.real_images import RealImages, Shape, TrainingImages
from flexsearch.objectives.reference import ReferenceSource, open_reference, reference_for
from flexsearch.objectives.settings import BASE, TRAINING_DATA, QualitySettings
from flexsearch.paths import PREFIX, resolve_path
from flexsearch.schedule.converged import converged
from flexsearch.trial.converged import BaseImages
from flexsearch.trial.settings import InputSettings
from flexsearch.trial.shared_files import base_fingerprint

Decode = Callable[[Tensor], Tensor]
ReferenceReport = Callable[[int, int], None]


def open_source(settings: InputSettings) -> ReferenceSource | str:
    """Open the source of the reference, checked as far as that needs no network.

    Returns:
        The source; "data" stands for the training data, "base" for samples of the base, "" for none, where a metric of
        the user's own is all that is measured.

    Raises:
        UserError: none is named, or the one named cannot serve.
    """
    fid = settings.objectives.quality
    name = fid.reference
    if not fid.metrics:
        return ""
    if name is None:
        raise UserError(
            "is missing: a .npz file with mu and sigma of the real images, such as ADM's "
            f"VIRTUAL_imagenet256_labeled.npz, a folder of them, the word {TRAINING_DATA} for the training data, or "
            f"{BASE} for the base's own samples",
            field="objectives.quality.reference",
        )
    if name == TRAINING_DATA and not settings.data.can_train:
        raise UserError("is the training data, but there are none", field="objectives.quality.reference", nearest=BASE)
    if name == BASE and fid.reference_steps is None:
        raise UserError(
            "is missing: sampler steps of the base's own samples", field="objectives.quality.reference_steps"
        )
    if name in (TRAINING_DATA, BASE):
        return name
    path = resolve_path(name, inside="reference.npz" if name.startswith(PREFIX) else "")
    return open_reference(path, metrics=fid.metrics)


def load_extractors(fid: QualitySettings, *, device: torch.device) -> dict[str, Extractor]:
    """Load the extractors by name, the objective's first; weights that the user gives are the objective's.

    Raises:
        UserError: weights cannot be had; says how to get them.
    """
    own = {"weights": fid.weights, "weights_sha256": fid.weights_sha256}
    return {
        name: create_extractor(name, device=device, **(own if name == fid.extractor else {})) for name in fid.metrics
    }


def load_evaluators(
    settings: InputSettings,
    report: ReferenceReport,
    *,
    source: ReferenceSource | str,
    extractors: Mapping[str, Extractor],
    base: Base,
    data: DataSource | None,
    conditions: Conditions,
    decode: Decode,
    device: torch.device,
    own: OwnMetric | None,
) -> tuple[Evaluator | OwnMetric, ...]:
    """Load the evaluators, the objective's first. Features of the reference are computed where they are not kept yet.

    Raises:
        UserError: an image is damaged, or the reference does not fit its extractor.
    """
    fid = settings.objectives.quality
    first = () if own is None else (own,)
    if not fid.metrics:
        return first
    images: ReferenceSource | RealImages
    if isinstance(source, ReferenceSource):
        images = source
    elif source == TRAINING_DATA:
        assert data is not None
        images = TrainingImages(
            data=data,
            decode=decode,
            device=device,
            num=fid.reference_images,
            source={
                "data": settings.data.identity,
                "base": [settings.base.checkpoint, settings.base.revision],
                **({} if settings.data.is_shipped else {"contents": data.digest}),
            },
        )
    else:
        assert fid.reference_steps is not None
        images = BaseImages(
            base=base,
            sampling=converged(fid.reference_steps),
            settings=settings.sampling,
            conditions=conditions,
            decode=decode,
            num=fid.images,
            source={"base": base_fingerprint(settings), "conditions": _identity(conditions, settings)},
            report=report,
        )

    @cache
    def shape() -> Shape:
        return tuple(decode(torch.zeros(1, *base.model.shape.sample_size, device=device)).shape[1:])

    distances = (
        Evaluator(
            extractor=extractors[name],
            reference=reference_for(
                images,
                extractor=extractors[name],
                metrics=metrics,
                shape=shape,
                batch=fid.batch,
                is_objective=own is None and name == fid.extractor,
            ),
            metrics=metrics,
        )
        for name, metrics in fid.metrics.items()
    )
    return (*first, *distances)


def _identity(conditions: Conditions, settings: InputSettings) -> Mapping[str, Any]:
    """Identify conditions, where that can be on every machine alike."""
    if isinstance(conditions, ClassConditions):
        return {"classes": conditions.num_classes}
    if settings.data.name == "captions":
        return {"captions": file_sha256(Path(settings.data.root).expanduser())}
    return {"data": settings.data.identity}
