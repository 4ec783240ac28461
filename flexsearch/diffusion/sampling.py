"""The sampling loop, over diffusers' schedulers, with classifier-free guidance in one place.

Noise is drawn per image from (seed, index), so an image does not depend on the batch that it is made in, and two models
that are given one seed are compared on paired noise. Letters: B batch, C channels, F frames, H x W data.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from flexsearch.data.conditions import Condition, Conditions
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
    """(B, *shape) standard normal noise, one generator per image index."""
    rows = []
    for index in indices:
        generator = torch.Generator().manual_seed((seed * 1_000_003 + index) % 2**63)
        rows.append(torch.randn(tuple(shape), generator=generator))
    return torch.stack(rows)


def _guided(
    model: FlexDiT, sample: Tensor, timestep: Tensor, condition: Condition, stage: int, settings: SamplingSettings
) -> Tensor:
    """The model's output, (B, out_channels, ...), guided away from the output without a condition.

    With guidance, `condition` has 2B rows: the second half is "no condition".
    """
    if settings.guidance == 1.0:
        output: Tensor = model(sample, timestep, stage=stage, **condition).sample
        return output
    both = model(torch.cat([sample, sample]), torch.cat([timestep, timestep]), stage=stage, **condition).sample
    given, free = both.chunk(2)
    channels = settings.guidance_channels or sample.shape[1]
    guided = free[:, :channels] + settings.guidance * (given[:, :channels] - free[:, :channels])
    return torch.cat([guided, given[:, channels:]], dim=1)


def _reads_variance(scheduler: Any) -> bool:
    return getattr(scheduler.config, "variance_type", None) in ("learned", "learned_range")


@torch.inference_mode()
def denoise(
    model: FlexDiT,
    scheduler: Any,
    *,
    noise: Tensor,
    condition: Condition,
    none: Condition,
    sampler_steps: int,
    settings: SamplingSettings,
    seed: int = 0,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> Tensor:
    """Turns noise into data with one model call per sampler step.

    Everything that the host decides (stages, the scheduler's coefficients) is known before the first step, so that the
    loop never waits for the device.

    Args:
        model: in eval mode; its schedule decides the stage of every step.
        scheduler: a diffusers scheduler; only its configuration is used.
        noise: (B, C, H, W), or (B, C, F, H, W) of videos, on the model's device.
        condition: B rows, on the model's device.
        none: B rows of "no condition", for guidance.
        sampler_steps: steps of the sampler.
        settings: guidance and dtype.
        seed: of the noise that stochastic samplers add.
        progress: goes through the sampler steps and may show how far it is, e.g. diffusers' progress bar.

    Returns:
        float32 data in model units, shaped like `noise`.
    """
    scheduler = type(scheduler).from_config(scheduler.config)
    scheduler.set_timesteps(sampler_steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    plan = model.plan(model.grid_of(noise))
    stages = [plan.stage_of(float(timestep) / scheduler.config.num_train_timesteps) for timestep in scheduler.timesteps]
    on_device = scheduler.timesteps.to(noise.device, non_blocking=True)
    if settings.guidance != 1.0:
        condition = {name: torch.cat([value, none[name]]) for name, value in condition.items()}
    takes_generator = {"generator": torch.Generator(noise.device).manual_seed(seed)}
    channels = noise.shape[1]
    sample = noise
    dtype = next(model.parameters(), noise).dtype
    precision = torch.autocast(noise.device.type, torch.bfloat16) if settings.dtype == "bf16" else nullcontext()
    for timestep, row, stage in progress(list(zip(scheduler.timesteps, on_device, stages, strict=True))):
        scaled = scheduler.scale_model_input(sample, timestep) if hasattr(scheduler, "scale_model_input") else sample
        with precision:
            output = _guided(model, scaled.to(dtype), row.expand(len(scaled)), condition, stage, settings).float()
        if output.shape[1] > channels and not _reads_variance(scheduler):
            output = output[:, :channels]
        sample = scheduler.step(output, timestep, sample, **takes_generator).prev_sample
    return sample


def generate(
    model: FlexDiT,
    scheduler: Any,
    *,
    conditions: Conditions,
    num_images: int,
    batch: int,
    sampler_steps: int,
    seed: int,
    settings: SamplingSettings,
    rank: int = 0,
    num_processes: int = 1,
) -> Iterator[Tensor]:
    """Batches of data in model units, (b, C, H, W) or (b, C, F, H, W) each, on the model's device.

    Image i has the condition that `conditions` gives to index i. Of `num_processes` that draw together, this one draws
    the batches `rank`, `rank + num_processes`, and so on.
    """
    device = next(model.parameters()).device
    for start in range(rank * batch, num_images, batch * num_processes):
        indices = range(start, min(start + batch, num_images))
        yield denoise(
            model,
            scheduler,
            noise=initial_noise(indices, shape=model.shape.sample_size, seed=seed).to(device),
            condition=on(device, conditions.of_samples(indices)),
            none=on(device, conditions.none(len(indices))),
            sampler_steps=sampler_steps,
            settings=settings,
            seed=seed * 1_000_003 + start,
        )


def on(device: torch.device, condition: Condition) -> Condition:
    """The condition on a device."""
    return {name: value.to(device) for name, value in condition.items()}
