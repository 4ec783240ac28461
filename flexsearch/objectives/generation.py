"""The workload that latency means: generating one batch of images."""

from typing import Any

from torch import Tensor

from flexsearch.data.conditions import Condition
from flexsearch.diffusion.sampling import denoise, initial_noise, on
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.models.flexdit import FlexDiT
from flexsearch.objectives.latency import Workload


def generation(
    model: FlexDiT,
    scheduler: Any,
    *,
    condition: Condition,
    none: Condition,
    sampler_steps: int,
    sampling: SamplingSettings,
) -> Workload:
    """Generating one batch of images, one per row of `condition`, on the model's device."""
    device = next(model.parameters()).device
    rows = len(next(iter(condition.values())))
    noise = initial_noise(range(rows), shape=model.shape.sample_size, seed=0).to(device)
    condition, none = on(device, condition), on(device, none)

    def run() -> Tensor:
        return denoise(
            model.eval(),
            scheduler,
            noise=noise,
            condition=condition,
            none=none,
            sampler_steps=sampler_steps,
            settings=sampling,
        )

    return run
