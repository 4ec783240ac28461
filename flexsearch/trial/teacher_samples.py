"""The dense base as a teacher of whole samples: what it draws once per run, and what a schedule draws to be like it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flexsearch.diffusion.batches import Batch
from flexsearch.diffusion.sample_distillation import SampleDistillation, SampleStream
from flexsearch.diffusion.sampling import draw_with_gradients, generate, on
from flexsearch.files import replacing
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.plan import Plan
from flexsearch.trial.context import TrialContext

SAMPLES_SEED = 2**31 - 2
"""Of the noise of the samples: no study's seed, nor the reference's (`converged.py`)."""


def make_teacher_samples(path: Path, context: TrialContext, *, seed: int, report: Callable[[int, int], None]) -> None:
    """Leave the base's samples, (N, C, H, W) or (N, C, F, H, W) in model units, in `path`.

    Args:
        path: safetensors file.
        context: of the run.
        seed: of the study; the samples' noise has its own.
        report: called with (samples done, in total).
    """
    del seed
    settings, base = context.settings, context.inputs.base
    assert settings.teacher_samples is not None
    num, batch = settings.teacher_samples.images, settings.objectives.quality.batch
    schedule = DensitySchedule.all_dense(context.space.num_blocks)
    candidate = Candidate(schedule=schedule, sampling=settings.teacher_sampling)
    drawn = []
    with context.device_lock.shared():
        for data in generate(
            base.model.eval(),
            base.scheduler,
            context.space.plan(candidate),
            conditions=context.inputs.conditions,
            num_images=num,
            batch=batch,
            seed=SAMPLES_SEED,
            settings=settings.sampling,
        ):
            drawn.append(data.cpu())
            report(min(len(drawn) * batch, num), num)
    with replacing(path) as temporary:
        save_file({"samples": torch.cat(drawn).contiguous()}, temporary)


def sample_training(model: FlexDiT, context: TrialContext) -> SampleDistillation:
    """Set up the fine-tune of a model under its schedule; `prepare` has left the base's samples."""
    settings, inputs = context.settings, context.inputs
    plans = [
        context.space.plan(Candidate(schedule=model.schedule, sampling=sampling))
        for sampling in settings.taught_samplings
    ]
    return SampleDistillation(
        model,
        draws=[partial(_draw, plan=plan, context=context) for plan in plans],
        process=inputs.process,
        stream=SampleStream(
            samples=load_file(context.shared.teacher_samples(settings))["samples"],
            conditions=inputs.conditions,
            batch=settings.trial.batch,
            seed=SAMPLES_SEED,
        ),
        optimisation=settings.trial,
    )


def _draw(model: nn.Module, batch: Batch, *, plan: Plan, context: TrialContext) -> Tensor:
    assert isinstance(model, FlexDiT)
    none = on(batch.noise.device, context.inputs.conditions.none(len(batch.noise)))
    return draw_with_gradients(
        model,
        context.inputs.base.scheduler,
        plan,
        noise=batch.noise,
        condition=batch.condition,
        none=none,
        settings=context.settings.sampling,
    )
