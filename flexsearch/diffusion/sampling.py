"""The sampling loop, over diffusers' schedulers, with classifier-free guidance in one place.

Noise is drawn per image from (seed, index), so an image does not depend on the batch that it is made in, and two models
that are given one seed are compared on paired noise. Letters: B batch, C channels, H x W data.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.models.flexdit import FlexDiT


def sampler_timesteps(scheduler: Any, sampler_steps: int) -> list[float]:
    """The timesteps that the model reads, one per sampler step, from noise to data."""
    fresh = type(scheduler).from_config(scheduler.config)
    fresh.set_timesteps(sampler_steps)
    return [float(timestep) for timestep in fresh.timesteps]


def sampler_times(scheduler: Any, sampler_steps: int) -> list[float]:
    """The diffusion times in [0, 1], one per sampler step, from noise to data."""
    num = scheduler.config.num_train_timesteps
    return [timestep / num for timestep in sampler_timesteps(scheduler, sampler_steps)]


def initial_noise(indices: Sequence[int], *, shape: Sequence[int], seed: int) -> Tensor:
    """(B, C, H, W) standard normal noise, one generator per image index."""
    rows = []
    for index in indices:
        generator = torch.Generator().manual_seed((seed * 1_000_003 + index) % 2**63)
        rows.append(torch.randn(tuple(shape), generator=generator))
    return torch.stack(rows)


def _guided(
    model: FlexDiT, sample: Tensor, timestep: Tensor, labels: Tensor, stage: int, settings: SamplingSettings
) -> Tensor:
    """(B, out_channels, H, W) the model's output, guided away from the output without a label."""
    if settings.guidance == 1.0:
        output: Tensor = model(sample, timestep, labels, stage=stage).sample
        return output
    unlabelled = torch.full_like(labels, model.shape.num_classes)
    both = model(sample.repeat(2, 1, 1, 1), timestep.repeat(2), torch.cat([labels, unlabelled]), stage=stage).sample
    labelled, free = both.chunk(2)
    channels = settings.guidance_channels or sample.shape[1]
    guided = free[:, :channels] + settings.guidance * (labelled[:, :channels] - free[:, :channels])
    return torch.cat([guided, labelled[:, channels:]], dim=1)


def _reads_variance(scheduler: Any) -> bool:
    return getattr(scheduler.config, "variance_type", None) in ("learned", "learned_range")


@torch.inference_mode()
def denoise(
    model: FlexDiT,
    scheduler: Any,
    *,
    noise: Tensor,
    labels: Tensor,
    sampler_steps: int,
    settings: SamplingSettings,
    seed: int = 0,
) -> Tensor:
    """Turns noise into data with one model call per sampler step.

    Args:
        model: in eval mode; its schedule decides the stage of every step.
        scheduler: a diffusers scheduler; only its configuration is used.
        noise: (B, C, H, W) on the model's device.
        labels: (B,) class labels.
        sampler_steps: steps of the sampler.
        settings: guidance and dtype.
        seed: of the noise that stochastic samplers add.

    Returns:
        (B, C, H, W) float32 data in model units.
    """
    scheduler = type(scheduler).from_config(scheduler.config)
    scheduler.set_timesteps(sampler_steps)
    timesteps = [float(timestep) for timestep in scheduler.timesteps]
    scheduler.set_timesteps(sampler_steps, device=noise.device)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    plan = model.plan(model.grid_of(noise))
    stages = [plan.stage_of(timestep / scheduler.config.num_train_timesteps) for timestep in timesteps]
    takes_generator = {"generator": torch.Generator(noise.device).manual_seed(seed)}
    channels = noise.shape[1]
    sample = noise
    for timestep, stage in zip(scheduler.timesteps, stages, strict=True):
        scaled = scheduler.scale_model_input(sample, timestep) if hasattr(scheduler, "scale_model_input") else sample
        with torch.autocast(noise.device.type, torch.bfloat16, enabled=settings.dtype == "bf16"):
            output = _guided(model, scaled, timestep.expand(len(scaled)), labels, stage, settings).float()
        if output.shape[1] > channels and not _reads_variance(scheduler):
            output = output[:, :channels]
        sample = scheduler.step(output, timestep, sample, **takes_generator).prev_sample
    return sample


def generate(
    model: FlexDiT,
    scheduler: Any,
    *,
    num_images: int,
    batch: int,
    sampler_steps: int,
    seed: int,
    settings: SamplingSettings,
) -> Iterator[Tensor]:
    """Batches of data in model units; image i has label `i % num_classes`. (b, C, H, W) each, on the model's device."""
    shape = model.shape
    size = (shape.in_channels, shape.grid.height * shape.patch_size, shape.grid.width * shape.patch_size)
    device = next(model.parameters()).device
    for start in range(0, num_images, batch):
        indices = range(start, min(start + batch, num_images))
        noise = initial_noise(indices, shape=size, seed=seed).to(device)
        labels = torch.tensor([index % shape.num_classes for index in indices], device=device)
        yield denoise(
            model,
            scheduler,
            noise=noise,
            labels=labels,
            sampler_steps=sampler_steps,
            settings=settings,
            seed=seed * 1_000_003 + start,
        )
