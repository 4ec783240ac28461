"""Mean and covariance of the data of a run's base, for a space in which a first step may take them."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from flexsearch.diffusion.data_gaussian import measure_means, with_covariance
from flexsearch.diffusion.sampling import generate
from flexsearch.files import replacing
from flexsearch.latency.design import dense_plan
from flexsearch.models.data_gaussian import DataGaussian
from flexsearch.schedule.sampling import Sampling
from flexsearch.trial.context import TrialContext
from flexsearch.trial.inputs import Inputs
from flexsearch.trial.settings import TrialSettings

SAMPLES = 256
"""Drawn for the covariance."""
_SAMPLING = Sampling(steps=10, solver="ab2")
"""How they are drawn: a covariance needs no fine detail."""


def make_gaussian(path: Path, context: TrialContext, *, seed: int, report: Callable[[int, int], None]) -> None:
    """Leave mean and covariance in `path`, and in the models of this process.

    Args:
        path: safetensors file.
        context: of the run.
        seed: of the study.
        report: called with (labels and samples done, in total).
    """
    with context.device_lock.shared():
        data = measure_gaussian(context.settings, context.inputs, seed=seed, report=report)
    with replacing(path) as temporary:
        save_file({name: value.contiguous() for name, value in data.tensors.items()}, temporary)
    context.take_gaussian(DataGaussian.from_tensors(load_file(path)))


def measure_gaussian(
    settings: TrialSettings, inputs: Inputs, *, seed: int, report: Callable[[int, int], None]
) -> DataGaussian:
    """Measure the means, and the covariance if the space may take it; the noise is not that of trials of `seed`."""
    space, objective = settings.search_space, settings.objectives.quality
    num = SAMPLES if "gaussian" in space.starts else 0
    model, scheduler, total = inputs.base.model, inputs.base.scheduler, space.target.shape.num_classes + 1 + num
    means = measure_means(
        model,
        scheduler,
        dense_plan(space.target, Sampling(steps=max(space.steps))),
        batch=objective.batch,
        seed=seed + 1,
        report=lambda done, _: report(done, total),
    )
    if not num:
        return DataGaussian.of_means(means)
    batches = generate(
        model,
        scheduler,
        dense_plan(space.target, _SAMPLING),
        conditions=inputs.conditions,
        num_images=num,
        batch=objective.batch,
        seed=seed + 1,
        settings=settings.sampling,
    )
    samples = torch.cat(list(batches)).to(means)
    report(total, total)
    centres = means[inputs.conditions.of_samples(range(num))["class_labels"].to(means.device)]
    moved = slice(settings.sampling.guidance_channels or None)
    centres[:, moved] = torch.lerp(
        means[-1, moved].expand_as(centres[:, moved]), centres[:, moved], settings.sampling.guidance
    )
    return with_covariance(means, samples, centres)
