"""The dense base as a teacher of whole samples: what it draws once per run, and what a schedule draws to be like it."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flexsearch.device_memory import FittingRows
from flexsearch.diffusion.batches import Batch
from flexsearch.diffusion.sample_distillation import SampleDistillation, SampleStream
from flexsearch.diffusion.sampling import denoise, draw_with_gradients, generate, initial_noise, on
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.files import replacing
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.plan import Plan, Target, lower
from flexsearch.schedule.sampling import Sampling
from flexsearch.trial.context import TrialContext
from flexsearch.trial.inputs import Inputs
from flexsearch.trial.settings import InputSettings

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
    """Set up the fine-tune of a trial's model under its schedule; `prepare` has left the base's samples."""
    settings = context.settings
    samples, target = load_file(context.shared.teacher_samples(settings))["samples"], context.space.target
    return SampleDistillation(
        model,
        draws=draws(context.inputs, model.schedule, settings.taught_samplings, target=target, by=settings),
        process=context.inputs.process,
        stream=SampleStream(
            samples=lambda indices: samples[list(indices)],
            num=len(samples),
            conditions=context.inputs.conditions,
            batch=settings.trial.batch,
            seed=SAMPLES_SEED,
        ),
        optimisation=settings.trial,
    )


def draws(
    inputs: Inputs, schedule: DensitySchedule, samplings: Sequence[Sampling], *, target: Target, by: InputSettings
) -> list[Callable[[nn.Module, Batch], Tensor]]:
    """Say how a model under `schedule` draws a batch with gradients, one way for each sampling."""
    plans = [lower(Candidate(schedule=schedule, sampling=one), target) for one in samplings]
    return [partial(_draw, plan=plan, inputs=inputs, settings=by.sampling) for plan in plans]


def live_samples(inputs: Inputs, plan: Plan, *, by: InputSettings) -> Callable[[Sequence[int]], Tensor]:
    """Draw the base's samples when they are asked for."""
    fitting = FittingRows("drawing the base's samples")

    def drawn(indices: Sequence[int]) -> Tensor:
        model, conditions = inputs.base.model.eval(), inputs.conditions

        def of_rows(rows: slice) -> Tensor:
            part = indices[rows]
            return denoise(
                model,
                inputs.base.scheduler,
                plan,
                noise=initial_noise(part, shape=model.shape.sample_size, seed=SAMPLES_SEED).to(inputs.device),
                condition=on(inputs.device, conditions.of_samples(part)),
                none=on(inputs.device, conditions.none(len(part))),
                settings=by.sampling,
            )

        return torch.cat(fitting(of_rows, len(indices)))  # not of inference mode, so that gradients may meet it

    return drawn


def _draw(model: nn.Module, batch: Batch, *, plan: Plan, inputs: Inputs, settings: SamplingSettings) -> Tensor:
    assert isinstance(model, FlexDiT)
    return draw_with_gradients(
        model,
        inputs.base.scheduler,
        plan,
        noise=batch.noise,
        condition=batch.condition,
        none=on(batch.noise.device, inputs.conditions.none(len(batch.noise))),
        settings=settings,
    )
