"""Data means: the base's prediction of clean data from pure noise, averaged over noises, one per class label.

A sample at diffusion time t is `alpha data + sigma noise`. `flexsearch.schedule.start` says what the means are for.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flexsearch.diffusion.solvers import clock_of, solver_of
from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.plan import Plan
from flexsearch.seeds import item_seed

NOISES = 16
"""Drawn for each label: predictions from pure noise hardly differ from each other."""


@torch.inference_mode()
def measure_means(
    model: FlexDiT, scheduler: Any, plan: Plan, *, batch: int, seed: int, report: Callable[[int, int], None]
) -> Tensor:
    """Measure the data mean of every label, and of "no label", the last row.

    Args:
        model: dense, in eval mode; reads class labels.
        scheduler: a diffusers scheduler.
        plan: whose first step is at pure noise.
        batch: labels in one model call.
        seed: of the noise.
        report: called with (labels done, in total).

    Returns:
        (num_classes + 1, C, H, W) float32, on the model's device.
    """
    step, num, device = plan.steps[0], model.shape.num_classes + 1, model.device
    timestep = solver_of(scheduler, plan, seed=seed, device=device).timestep(0)
    level = _Level(scheduler, step.time)
    rows = []
    for start in range(0, num, batch):
        labels = torch.arange(start, min(start + batch, num), device=device)
        found = []
        for draw in range(NOISES):
            generator = torch.Generator().manual_seed(item_seed(seed, start * NOISES + draw))
            noise = torch.randn((len(labels), *model.shape.sample_size), generator=generator).to(device)
            output = model(noise.to(model.dtype), timestep.expand(len(labels)), class_labels=labels).sample
            found.append(level.clean(output[:, : noise.shape[1]].float(), noise))
        rows.append(torch.stack(found).mean(dim=0))
        report(start + len(labels), num)
    return torch.cat(rows)


def mean_output(model: FlexDiT, scheduler: Any, sample: Tensor, labels: Tensor, *, time: float) -> Tensor:
    """Give the model's output that predicts the data means, (B, C, ...), for samples (B, C, ...) at `time`.

    Raises:
        UserError: the model has no means, or has them for other sizes.
    """
    means = model.data_means
    if means is None:
        raise UserError("takes the data mean, but this model comes without data means", field="start", nearest="model")
    if means.shape[1:] != sample.shape[1:]:
        raise UserError(
            f"takes data means of {tuple(means.shape[1:])}, but samples are {tuple(sample.shape[1:])}", field="start"
        )
    return _Level(scheduler, time).output(means[labels].float(), sample.float())


class _Level:
    """How data and noise are mixed at one time, and what the model predicts of them."""

    def __init__(self, scheduler: Any, time: float) -> None:
        clock = clock_of(scheduler)
        if clock.is_flow:
            self._alpha, self._sigma, self._prediction = 1 - time, time, "flow"
        else:
            product = float(scheduler.alphas_cumprod[round(time * clock.num_train_timesteps)])
            self._alpha, self._sigma = product**0.5, (1 - product) ** 0.5
            self._prediction = str(scheduler.config.get("prediction_type", "epsilon"))

    def clean(self, output: Tensor, sample: Tensor) -> Tensor:
        """Give the data that an output predicts."""
        match self._prediction:
            case "flow":
                return sample - self._sigma * output
            case "v_prediction":
                return self._alpha * sample - self._sigma * output
            case "sample":
                return output
            case _:
                return (sample - self._sigma * output) / self._alpha

    def output(self, clean: Tensor, sample: Tensor) -> Tensor:
        """Give the output that predicts data."""
        match self._prediction:
            case "flow":
                return (sample - clean) / self._sigma
            case "v_prediction":
                return (self._alpha * sample - clean) / self._sigma
            case "sample":
                return clean
            case _:
                return (sample - self._alpha * clean) / self._sigma
