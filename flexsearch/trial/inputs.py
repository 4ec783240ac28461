"""Load what the user supplies (base, data or captions, extractor, reference), which checks that a run can start."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter
from torch import Tensor

from flexsearch.cpu_memory import keep_freed_memory
from flexsearch.data.check import check_fit
from flexsearch.data.conditions import Conditions
from flexsearch.data.latents import LatentFolder, LatentSet
from flexsearch.data.loading import load_data
from flexsearch.data.source import DataSource
from flexsearch.diffusion.process import DiffusionProcess, process_of
from flexsearch.diffusion.solvers import check_solver, solver_of
from flexsearch.errors import UserError
from flexsearch.models.autoencoder import load_autoencoder
from flexsearch.models.loading import Base, is_here, load_base
from flexsearch.objectives.own_metric import OwnMetric
from flexsearch.objectives.quality import AnyEvaluator
from flexsearch.objectives.settings import BASE
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import PIXEL_CHANNELS
from flexsearch.trial.conditions import conditions_of, read_captions
from flexsearch.trial.device import trial_device
from flexsearch.trial.evaluators import ReferenceReport, load_evaluators, load_extractors, load_scores, open_source
from flexsearch.trial.settings import InputSettings, TrialSettings

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Loaded inputs, on `device`. The base is all-dense and never changed; `decode` turns its data into images. There
    are no data where nothing is trained.

    Attributes:
        load_evaluators: loads the evaluators; called with what is told of (images done, images in total) while the base
            draws the reference, if it is not kept yet.
    """

    base: Base
    data: DataSource | None
    conditions: Conditions
    process: DiffusionProcess
    decode: Callable[[Tensor], Tensor]
    load_evaluators: Callable[[ReferenceReport], tuple[AnyEvaluator, ...]]
    device: torch.device

    @cached_property
    def evaluators(self) -> tuple[AnyEvaluator, ...]:
        """The evaluators; the first one measures the objective."""
        return self.load_evaluators(lambda *_: None)

    @property
    def training_data(self) -> DataSource:
        """The data, to be trained on.

        Raises:
            UserError: there are none.
        """
        if self.data is None:
            raise UserError("is missing: there is nothing to train on", field="data")
        return self.data


def load_inputs(settings: InputSettings) -> Inputs:
    """Load everything, once per process, and prepare the process for training.

    Raises:
        UserError: something is missing or does not fit; says what, and how to get it.
    """
    inputs = _load(TypeAdapter(InputSettings).dump_json(settings.inputs).decode())
    if isinstance(settings, TrialSettings):
        _check_solvers(settings, inputs.base.scheduler)
    return inputs


def _check_solvers(settings: TrialSettings, scheduler: Any) -> None:
    """Check the base's scheduler under every solver at every number of steps, and of these walk the most and least."""
    space = settings.search_space
    dense = DensitySchedule.all_dense(space.num_blocks)
    for solver in {"base", *space.sampling.values_of("solver")}:
        for steps in space.steps:
            plan = space.plan(Candidate(schedule=dense, sampling=Sampling(steps=steps, solver=solver)))
            if steps in (min(space.steps), max(space.steps)):
                check_solver(scheduler, plan)
            else:
                solver_of(scheduler, plan, seed=0, device=torch.device("cpu"))


@lru_cache(maxsize=1)
def _load(settings_json: str) -> Inputs:
    settings = TypeAdapter(InputSettings).validate_json(settings_json)
    keep_freed_memory()
    device, fid = trial_device(), settings.objectives.quality
    missing: list[UserError] = []
    source = _try(lambda: open_source(settings), missing)
    data = _try(lambda: load_data(settings.data), missing) if settings.data.can_train else None
    captions = () if settings.data.can_train else _try(lambda: read_captions(settings), missing)
    if missing and not is_here(settings.base):  # no download for a run that cannot start
        missing.append(
            UserError(
                f"{settings.base.checkpoint} is not on this machine: hf download {settings.base.checkpoint}",
                field="base.checkpoint",
            )
        )
        raise UserError("\n".join(map(str, missing)))
    base = _try(lambda: load_base(settings.base, device=device), missing)
    extractors = _try(lambda: load_extractors(fid, device=device), missing)
    scores = _try(lambda: load_scores(fid, captions or (), device=device), missing)
    function = fid.function
    if function is not None:
        _try(lambda: function.function, missing)
    if source is None or captions is None or base is None or extractors is None or scores is None or missing:
        raise UserError("\n".join(map(str, missing)))
    if data is not None:
        check_fit(data, base.model.shape)
    conditions = conditions_of(captions, settings, device=device) if data is None else data.conditions
    own = None
    if function is not None:
        is_maximised = fid.direction == "maximize"
        own = OwnMetric(function=function, is_maximised=is_maximised, conditions=conditions, prompts=captions)
    is_latent = (
        isinstance(data, LatentSet | LatentFolder)
        if data is not None and settings.data.function is None
        else base.model.shape.in_channels not in PIXEL_CHANNELS
    )
    decode = (
        load_autoencoder(settings.base.checkpoint, revision=settings.base.revision, device=device).decode
        if is_latent
        else _as_it_is
    )
    inputs = Inputs(
        base=base,
        data=data,
        conditions=conditions,
        process=process_of(base.scheduler),
        decode=decode,
        load_evaluators=partial(
            load_evaluators,
            settings,
            source=source,
            extractors=extractors,
            base=base,
            data=data,
            conditions=conditions,
            decode=decode,
            device=device,
            own=own,
            scores=scores,
            prompts=captions,
        ),
        device=device,
    )
    if source != BASE:
        _ = inputs.evaluators  # an image that is damaged is found before anything runs
    return inputs


def _try(load: Callable[[], T], missing: list[UserError]) -> T | None:
    """Give what `load` gives; note what it lacks, so that the user learns of everything at once."""
    try:
        return load()
    except UserError as error:
        missing.append(error)
        return None


def _as_it_is(data: Tensor) -> Tensor:
    return data
