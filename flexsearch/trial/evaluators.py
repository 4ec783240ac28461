"""The evaluators of a run: each extractor that its settings name, with the reference as that extractor sees it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache

import torch
from torch import Tensor

from flexsearch.data.source import DataSource
from flexsearch.errors import UserError
from flexsearch.objectives.extractors import Extractor, create_extractor
from flexsearch.objectives.quality import Evaluator
from flexsearch.objectives.real_images import Shape, TrainingImages
from flexsearch.objectives.reference import TRAINING_DATA, ReferenceSource, open_reference, reference_for
from flexsearch.objectives.settings import QualitySettings
from flexsearch.paths import PREFIX, resolve_path
from flexsearch.trial.settings import InputSettings

Decode = Callable[[Tensor], Tensor]


def open_source(fid: QualitySettings) -> ReferenceSource | str:
    """Open the source of the real images, checked as far as that needs no network; "data" stands for the training data.

    Raises:
        UserError: none is named, or the one named cannot serve.
    """
    name = fid.reference
    if name is None:
        raise UserError(
            "is missing: a .npz file with mu and sigma of the real images, such as ADM's "
            f"VIRTUAL_imagenet256_labeled.npz, a folder of them, or the word {TRAINING_DATA} for the training data",
            field="objectives.quality.reference",
        )
    if name == TRAINING_DATA:
        return TRAINING_DATA
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
    *,
    source: ReferenceSource | str,
    extractors: Mapping[str, Extractor],
    data: DataSource,
    decode: Decode,
    device: torch.device,
) -> tuple[Evaluator, ...]:
    """Load the evaluators, the objective's first. Features of real images are computed where they are not kept yet.

    Raises:
        UserError: an image is damaged, or the reference does not fit its extractor.
    """
    fid = settings.objectives.quality
    training = TrainingImages(
        data=data,
        decode=decode,
        device=device,
        num=fid.reference_images,
        source={
            "data": asdict(settings.data),
            "base": [settings.base.checkpoint, settings.base.revision],
        },
    )

    @cache
    def shape() -> Shape:
        return tuple(training[:1].shape[1:])  # generated samples have the training data's

    return tuple(
        Evaluator(
            extractor=extractors[name],
            reference=reference_for(
                training if isinstance(source, str) else source,
                extractor=extractors[name],
                metrics=metrics,
                shape=shape,
                batch=fid.batch,
                is_objective=name == fid.extractor,
            ),
            metrics=metrics,
        )
        for name, metrics in fid.metrics.items()
    )
