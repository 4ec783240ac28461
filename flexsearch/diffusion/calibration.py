"""Calibration of reuse: what it would cost to take each step's residual from any earlier ones. One run measures it.

`costs[i, j, k] = w_k mean |r'_k(i, j) - r_k|^2`: r_k is the residual that all blocks add at step k of a run that reuses
nothing, r'_k what full steps i and j extrapolate to, and w_k the square of the step in diffusion time.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flexsearch.data.conditions import Conditions
from flexsearch.diffusion.sampling import initial_noise, on, walk
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.plan import Plan


def reuse_costs(
    model: FlexDiT,
    scheduler: Any,
    plan: Plan,
    *,
    order: int,
    conditions: Conditions,
    num_images: int,
    seed: int,
    settings: SamplingSettings,
) -> np.ndarray:
    """Measure what reuse costs between any steps of a plan.

    Args:
        model: in eval mode; its weights serve the plan.
        scheduler: a diffusers scheduler.
        plan: that reuses nothing and has no gain.
        order: of the extrapolation.
        conditions: of the images.
        num_images: drawn in one batch.
        seed: of their noise.
        settings: guidance and dtype.

    Returns:
        (S, S, S) costs as `flexsearch.schedule.masks` reads them.
    """
    span = (0, plan.target.shape.num_blocks)
    steps = [step._replace(graph=replace(step.graph, span=span, leaves="residual")) for step in plan.steps]
    device = model.device
    residuals = []
    walked = walk(
        model,
        scheduler,
        replace(plan, steps=tuple(steps)),
        noise=initial_noise(range(num_images), shape=model.shape.sample_size, seed=seed).to(device),
        condition=on(device, conditions.of_samples(range(num_images))),
        none=on(device, conditions.none(num_images)),
        settings=settings,
        seed=seed,
    )
    for _, left in walked:
        residuals.append(left[0].float())
    times = [step.time for step in plan.steps]
    return _costs(residuals, times, order=order)


def _costs(residuals: Sequence[Tensor], times: Sequence[float], *, order: int) -> np.ndarray:
    num = len(times)
    sizes = [(time - after) ** 2 for time, after in zip(times, [*times[1:], 0.0], strict=True)]
    flat = torch.stack([residual.flatten() for residual in residuals]).double()
    products = (flat @ flat.T / flat.shape[1]).cpu().numpy()  # (S, S) mean products: all that a squared error needs
    costs = np.zeros((num, num, num))
    for step in range(num):
        for last in range(step):
            for before in range(last + 1):
                theta = 0.0
                if order and times[last] != times[before]:
                    theta = (times[step] - times[last]) / (times[last] - times[before])
                weights = np.zeros(num)
                weights[last] += 1 + theta
                weights[before] -= theta
                weights[step] -= 1
                costs[before, last, step] = sizes[step] * max(float(weights @ products @ weights), 0.0)
    return costs
