"""The sampling loop, over diffusers' schedulers, with classifier-free guidance in one place.

Noise is drawn per image from (seed, index), so an image does not depend on the batch that it is made in, and two models
that are given one seed are compared on paired noise. Letters: B batch, C channels, F frames, H x W data.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from flexsearch.data.conditions import Condition, Conditions
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.diffusion.solvers import Solver, clock_of
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.plan import Graph, Plan, Target, lower
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid
from flexsearch.seeds import item_seed


def target_of(model: FlexDiT, scheduler: Any, settings: SamplingSettings, *, grid: TokenGrid | None = None) -> Target:
    """Say what candidates are lowered for: a loaded model on `grid` (its own if None), its scheduler and guidance."""
    return Target(
        shape=model.shape if grid is None else replace(model.shape, grid=grid),
        clock=clock_of(scheduler, spacing=settings.spacing),
        is_guided=settings.is_guided,
    )


def plan_of(model: FlexDiT, scheduler: Any, sampling: Sampling, settings: SamplingSettings) -> Plan:
    """Lower the model's own schedule with a sampling.

    Raises:
        UserError: there are more steps than the scheduler has timesteps.
    """
    candidate = Candidate(schedule=model.schedule, sampling=sampling)
    return lower(candidate, target_of(model, scheduler, settings))


def initial_noise(indices: Sequence[int], *, shape: Sequence[int], seed: int) -> Tensor:
    """(B, *shape) standard normal noise, one generator per image index."""
    rows = []
    for index in indices:
        generator = torch.Generator().manual_seed(item_seed(seed, index))
        rows.append(torch.randn(tuple(shape), generator=generator))
    return torch.stack(rows)


def _guided(
    model: FlexDiT, sample: Tensor, timestep: Tensor, condition: Condition, graph: Graph, settings: SamplingSettings
) -> Tensor:
    """The model's output, (B, out_channels, ...), guided away from the output without a condition.

    With guidance, `condition` has 2B rows: the second half is "no condition".
    """
    if not settings.is_guided:
        output: Tensor = model(sample, timestep, graph=graph, **condition).sample
        return output
    both = model(torch.cat([sample, sample]), torch.cat([timestep, timestep]), graph=graph, **condition).sample
    given, free = both.chunk(2)
    channels = settings.guidance_channels or sample.shape[1]
    guided = free[:, :channels] + settings.guidance * (given[:, :channels] - free[:, :channels])
    return torch.cat([guided, given[:, channels:]], dim=1)


@torch.inference_mode()
def denoise(
    model: FlexDiT,
    scheduler: Any,
    plan: Plan,
    *,
    noise: Tensor,
    condition: Condition,
    none: Condition,
    settings: SamplingSettings,
    seed: int = 0,
    progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> Tensor:
    """Turn noise into data, step by step of a plan.

    Everything that the host decides (graphs, the scheduler's coefficients) is known before the first step, so that the
    loop never waits for the device.

    Args:
        model: in eval mode; its weights serve the plan.
        scheduler: a diffusers scheduler; only its configuration is used.
        plan: lowered for this model, scheduler and guidance.
        noise: (B, C, H, W), or (B, C, F, H, W) of videos, on the model's device.
        condition: B rows, on the model's device.
        none: B rows of "no condition", for guidance.
        settings: guidance and dtype.
        seed: of the noise that stochastic samplers add.
        progress: goes through the sampler steps and may show how far it is, e.g. diffusers' progress bar.

    Returns:
        float32 data in model units, shaped like `noise`.
    """
    solver = Solver(scheduler, plan, seed=seed, device=noise.device)
    if settings.is_guided:
        condition = {name: torch.cat([value, none[name]]) for name, value in condition.items()}
    channels, sample = noise.shape[1], noise
    dtype = next(model.parameters(), noise).dtype
    precision = torch.autocast(noise.device.type, torch.bfloat16) if settings.dtype == "bf16" else nullcontext()
    for index, step in enumerate(progress(plan.steps)):
        scaled, timestep = solver.scaled(sample, index), solver.timestep(index)
        with precision:
            row = timestep.expand(len(scaled))
            output = _guided(model, scaled.to(dtype), row, condition, step.graph, settings).float()
        if output.shape[1] > channels and not solver.reads_variance:
            output = output[:, :channels]
        sample = solver.step(output, index, sample)
    return sample


def generate(
    model: FlexDiT,
    scheduler: Any,
    plan: Plan,
    *,
    conditions: Conditions,
    num_images: int,
    batch: int,
    seed: int,
    settings: SamplingSettings,
    rank: int = 0,
    num_processes: int = 1,
) -> Iterator[Tensor]:
    """Go through batches of data in model units, (b, C, H, W) or (b, C, F, H, W) each, on the model's device.

    Image i has the condition that `conditions` gives to index i. Of `num_processes` that draw together, this one draws
    the batches `rank`, `rank + num_processes`, and so on.
    """
    device = next(model.parameters()).device
    for start in range(rank * batch, num_images, batch * num_processes):
        indices = range(start, min(start + batch, num_images))
        yield denoise(
            model,
            scheduler,
            plan,
            noise=initial_noise(indices, shape=model.shape.sample_size, seed=seed).to(device),
            condition=on(device, conditions.of_samples(indices)),
            none=on(device, conditions.none(len(indices))),
            settings=settings,
            seed=item_seed(seed, start),
        )


def on(device: torch.device, condition: Condition) -> Condition:
    """The condition on a device."""
    return {name: value.to(device) for name, value in condition.items()}
