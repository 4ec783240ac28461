"""What scripts share that fine-tune schedules as trials do, draw and measure them, outside of a search."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from flexsearch.config import load_config
from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.diffusion.training import Training
from flexsearch.measurement import Measurement
from flexsearch.models.flexdit import FlexDiT
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.quality import measure_features
from flexsearch.schedule import Candidate, DensitySchedule
from flexsearch.trial.context import TrialContext, trial_context
from flexsearch.trial.drawing import draw_all
from flexsearch.trial.prepare import prepare
from flexsearch.trial.teacher import live_teacher

QUICKSTART = Path(__file__).parents[1] / "search_spaces" / "quickstart.yaml"


def opened(folder: Path, *changes: str, space: Path = QUICKSTART) -> TrialContext:
    """Give what trials of a space work with, its warm start among it; `changes` are as of `--set`."""
    config = load_config(space, list(changes))
    folder.mkdir(parents=True, exist_ok=True)
    config.trial_settings.save(folder)
    prepare(folder, config.trial_settings, seed=0, report=lambda *_: None)
    return trial_context(folder)


def schedules_of(context: TrialContext, names: Collection[str]) -> dict[str, DensitySchedule]:
    """The schedules of the space that are printed so."""
    built = (context.space.build(parameters).schedule for parameters in context.space.choices())
    found: dict[str, DensitySchedule] = {}
    while len(found) < len(names):
        schedule = next(built)
        if str(schedule) in names:
            found[str(schedule)] = schedule
    return found


def started(context: TrialContext, schedule: DensitySchedule) -> FlexDiT:
    """Weights that a trial starts from: the warm start's, or the dense base's for itself."""
    model = (context.inputs.base.model if schedule.is_dense else context.start).clone()
    model.set_schedule(schedule)
    model.drop_unused_weights()
    return model


def by_data(
    context: TrialContext,
    model: FlexDiT,
    optimisation: Optimisation,
    *,
    seed: int = 0,
    stream: Any = None,
    kind: type[Training] = Training,
) -> Training:
    """A trial's training: on the stream of `seed`, or another one, taught by the dense base."""
    return kind(
        model,
        process=context.inputs.process,
        stream=context.stream(seed) if stream is None else stream,
        optimisation=optimisation,
        teacher=live_teacher(context.inputs.base.model),
    )


def averaged(training: Training) -> Any:
    """The averaged weights at the end of a training."""
    for _ in training.run():
        pass
    return training.averaged


def drawn_features(
    context: TrialContext, model: FlexDiT, candidate: Candidate, *, num: int = 500, seed: int = 0
) -> torch.Tensor:
    """(num, D) features of a candidate's samples."""
    images = draw_all(model, context.space.plan(candidate), context, lambda _: True, num=num, seed=seed)
    return extract_features(images, extractor=context.inputs.evaluators[0].extractor, batch=100)


def quality_of(context: TrialContext, features: torch.Tensor) -> Measurement:
    """The quickstart's distance of samples to real images."""
    return measure_features(features, evaluator=context.inputs.evaluators[0])[0]
