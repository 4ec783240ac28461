"""The evaluators of a run: each extractor that its settings name, with the reference as that extractor sees it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from flexsearch.data.conditions import ClassConditions, Conditions
from flexsearch.data.source import DataSource
from flexsearch.errors import UserError
from flexsearch.files import file_sha256
from flexsearch.models.loading import Base
from flexsearch.models.settings import base_clock
from flexsearch.objectives.clip_score import MODEL
from flexsearch.objectives.extractors import Extractor, create_extractor
from flexsearch.objectives.image_metric import ImageMetric, Kind, Score
from flexsearch.objectives.image_metrics import METRICS
from flexsearch.objectives.own_metric import OwnMetric
from flexsearch.objectives.paired_features import PairedFeatures
from flexsearch.objectives.quality import AnyEvaluator, Evaluator
from flexsearch.objectives.real_images import RealImages, Shape, TrainingImages
from flexsearch.objectives.reference import ReferenceSource, open_reference, reference_for
from flexsearch.objectives.settings import BASE, TRAINING_DATA, ImageMetricName, QualitySettings
from flexsearch.paths import PREFIX, SHIPPED_PROMPTS, checkpoint_folder, resolve_path
from flexsearch.schedule.converged import converged, described
from flexsearch.trial.conditions import encoders_identity
from flexsearch.trial.converged import BaseImages, Pairs
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
    if name == BASE:
        _check_steps(fid)
    if name in (TRAINING_DATA, BASE):
        return name
    path = resolve_path(name, inside="reference.npz" if name.startswith(PREFIX) else "")
    return open_reference(path, metrics=fid.metrics)


def _check_steps(fid: QualitySettings) -> None:
    if fid.reference_steps is None:
        raise UserError(
            "is missing: sampler steps of the base's own samples", field="objectives.quality.reference_steps"
        )


def load_extractors(fid: QualitySettings, *, device: torch.device) -> dict[str, Extractor]:
    """Load the extractors by name, the objective's first; weights that the user gives are the objective's.

    Raises:
        UserError: weights cannot be had; says how to get them.
    """
    own = {"weights": fid.weights, "weights_sha256": fid.weights_sha256}
    names = dict.fromkeys([*((fid.extractor,) if fid.has_paired_distance else ()), *fid.metrics])
    return {name: create_extractor(name, device=device, **(own if name == fid.extractor else {})) for name in names}


def load_scores(fid: QualitySettings, prompts: Sequence[str], *, device: torch.device) -> dict[ImageMetricName, Score]:
    """Load the functions of the metrics of single images.

    Raises:
        UserError: a package, weights or prompts are not there; says how to get them.
    """
    if fid.reads_prompts and not prompts:
        raise UserError(
            "needs the prompts that images are drawn of, which captioned data do not give",
            field=f"objectives.quality: {', '.join(fid.image_metrics)}",
            nearest=f"data: {{name: captions, root: {SHIPPED_PROMPTS}}}",
        )
    return {name: METRICS[name].load(device, fid.clip) for name in fid.image_metrics}


def _kind(name: ImageMetricName, fid: QualitySettings) -> Kind:
    """Give what a metric is, with the model that the user chooses in its protocol."""
    kind = METRICS[name]
    return kind if name != "clip_score" else replace(kind, protocol={"clip": fid.clip or MODEL})


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
    scores: Mapping[ImageMetricName, Score],
    prompts: Sequence[str],
) -> tuple[AnyEvaluator, ...]:
    """Load the evaluators, the objective's first. Features of the reference are computed where they are not kept yet.

    Raises:
        UserError: an image is damaged, or the reference does not fit its extractor.
    """
    fid = settings.objectives.quality

    def base_images(num: int) -> BaseImages:
        assert fid.reference_steps is not None
        return BaseImages(
            base=base,
            sampling=converged(fid.reference_steps),
            settings=settings.sampling,
            conditions=conditions,
            decode=decode,
            num=num,
            source=drawn_from(settings, conditions),
            report=report,
        )

    first: tuple[AnyEvaluator, ...] = () if own is None else (own,)
    last: tuple[AnyEvaluator, ...] = ()
    if fid.compares_pairs or scores:
        if fid.compares_pairs:
            _check_steps(fid)
        pairs = Pairs(images=base_images(0), batch=fid.batch)
        paired_with = described(pairs.images.sampling)
        if fid.has_paired_distance:
            extractor = extractors[fid.extractor]
            paired = PairedFeatures(extractor=extractor, pairs=pairs, paired_with=paired_with, batch=fid.batch)
            first, last = ((paired,), ()) if fid.is_paired else (first, (paired,))
        made = [
            ImageMetric(
                name=name,
                kind=_kind(name, fid),
                score=score,
                pairs=pairs,
                paired_with=paired_with,
                prompts=prompts,
                batch=fid.batch,
                device=device,
                is_reported=not (fid.is_of_images and name == fid.distance),
            )
            for name, score in scores.items()
        ]
        first += tuple(one for one in made if not one.is_reported)
        last += tuple(one for one in made if one.is_reported)
    if not fid.metrics:
        return (*first, *last)
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
        images = base_images(fid.images)

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
                is_objective=fid.compares_sets and name == fid.extractor,
            ),
            metrics=metrics,
        )
        for name, metrics in fid.metrics.items()
    )
    return (*first, *distances, *last)


def _identity(conditions: Conditions, settings: InputSettings) -> Mapping[str, Any]:
    """Identify conditions, where that can be on every machine alike."""
    if isinstance(conditions, ClassConditions):
        return {"classes": conditions.num_classes}
    if settings.data.name == "captions":
        return {"captions": file_sha256(resolve_path(settings.data.root)), **encoders_identity(settings)}
    return {"data": settings.data.identity}


def drawn_from(settings: InputSettings, conditions: Conditions) -> dict[str, Any]:
    """Identify all that decides what a base draws but its sampling: by it its samples are kept for other runs.

    Of a base on the hub its name identifies autoencoder and scheduler, too.
    """
    size, shift = settings.base.sample_size, base_clock(settings.base).shift
    has_autoencoder = (checkpoint_folder(settings.base.checkpoint) / "vae").is_dir()
    return {
        "base": base_fingerprint(settings),
        "conditions": _identity(conditions, settings),
        **({} if size is None else {"sample_size": size}),
        **({} if shift == 1.0 else {"shift": shift}),
        **({"autoencoder": base_fingerprint(settings, part="vae")} if has_autoencoder else {}),
    }
