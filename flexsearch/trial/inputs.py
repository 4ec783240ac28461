"""Load what the user supplies (base, data, extractor, reference), which checks that a run can start."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import torch
from pydantic import TypeAdapter
from torch import Tensor

from flexsearch.cpu_memory import keep_freed_memory
from flexsearch.data.check import check_fit
from flexsearch.data.latents import LatentFolder, LatentSet
from flexsearch.data.loading import load_data
from flexsearch.data.source import DataSource
from flexsearch.diffusion.process import DiffusionProcess, process_of
from flexsearch.errors import UserError
from flexsearch.models.autoencoder import load_autoencoder
from flexsearch.models.loading import Base, is_here, load_base
from flexsearch.objectives.quality import Evaluator
from flexsearch.trial.device import trial_device
from flexsearch.trial.evaluators import load_evaluators, load_extractors, open_source
from flexsearch.trial.settings import InputSettings

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Loaded inputs, on `device`. The base is all-dense and never changed; `decode` turns its data into images; the
    first evaluator measures the objective."""

    base: Base
    data: DataSource
    process: DiffusionProcess
    decode: Callable[[Tensor], Tensor]
    evaluators: tuple[Evaluator, ...]
    device: torch.device


def load_inputs(settings: InputSettings) -> Inputs:
    """Load everything, once per process, and prepare the process for training.

    Raises:
        UserError: something is missing or does not fit; says what, and how to get it.
    """
    return _load(TypeAdapter(InputSettings).dump_json(settings.inputs).decode())


@lru_cache(maxsize=1)
def _load(settings_json: str) -> Inputs:
    settings = TypeAdapter(InputSettings).validate_json(settings_json)
    keep_freed_memory()
    device, fid = trial_device(), settings.objectives.quality
    missing: list[UserError] = []
    source = _try(lambda: open_source(fid), missing)
    data = _try(lambda: load_data(settings.data), missing)
    if missing and not is_here(settings.base):  # no download for a run that cannot start
        missing.append(
            UserError(
                f"{settings.base.checkpoint} is not on this machine: hf download {settings.base.checkpoint}",
                field="base.checkpoint",
            )
        )
        raise UserError("; ".join(map(str, missing)))
    base = _try(lambda: load_base(settings.base, device=device), missing)
    extractors = _try(lambda: load_extractors(fid, device=device), missing)
    if source is None or data is None or base is None or extractors is None:
        raise UserError("; ".join(map(str, missing)))
    check_fit(data, base.model.shape)
    decode = (
        load_autoencoder(settings.base.checkpoint, revision=settings.base.revision, device=device).decode
        if isinstance(data, LatentSet | LatentFolder)
        else _as_it_is
    )
    return Inputs(
        base=base,
        data=data,
        process=process_of(base.scheduler),
        decode=decode,
        evaluators=load_evaluators(
            settings, source=source, extractors=extractors, data=data, decode=decode, device=device
        ),
        device=device,
    )


def _try(load: Callable[[], T], missing: list[UserError]) -> T | None:
    """Give what `load` gives; note what it lacks, so that the user learns of everything at once."""
    try:
        return load()
    except UserError as error:
        missing.append(error)
        return None


def _as_it_is(data: Tensor) -> Tensor:
    return data
