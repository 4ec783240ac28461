"""Mean and covariance of a base's data, which the base tells itself, and what a first step makes of them.

Means, one per class label, are the base's predictions of clean data from pure noise, averaged over noises. The
covariance is that of samples of the base around the means of their labels. A sample at diffusion time t is
`alpha data + sigma noise`. `flexsearch.schedule.start` says what all this is for.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flexsearch.diffusion.solvers import clock_of, solver_of
from flexsearch.errors import UserError
from flexsearch.models.data_gaussian import DataGaussian
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.plan import Plan
from flexsearch.seeds import item_seed

NOISES = 16
"""Drawn for each label: predictions from pure noise hardly differ from each other."""

DIRECTIONS = 16
"""Of the covariance; more change no distance, four are not enough (`experiments/free_sampling`)."""


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


def with_covariance(means: Tensor, samples: Tensor, centres: Tensor) -> DataGaussian:
    """Add the covariance of samples to the means.

    Args:
        means: (K + 1, C, H, W).
        samples: (N, C, H, W), at least two.
        centres: (N, C, H, W), the means of their labels.
    """
    off = (samples - centres).flatten(1).double()
    off = off - off.mean(dim=0)
    _, values, directions = torch.linalg.svd(off, full_matrices=False)
    num = min(DIRECTIONS, len(values) - 1)
    variances = values.square() / (len(samples) - 1)
    rest = variances[num:].sum() / max(off.shape[1] - num, 1)
    return DataGaussian(
        means=means,
        directions=directions[:num].view(num, *means.shape[1:]).to(means),
        variances=torch.cat([variances[:num], rest[None]]).to(means),
    )


def started_data(model: FlexDiT, scheduler: Any, plan: Plan) -> tuple[DataGaussian, Tensor]:
    """Give what the first step of a plan takes in place of a model call: what is known of the data, and factors.

    With them, `means[label] + spread(noise, factors)` is the prediction of clean data with which a first step of first
    order, as every solver takes it, ends where the plan's `start` says. For `gaussian` that is the end of the
    probability flow of normally distributed data: along a direction of variance v, noise is scaled by
    `sqrt(alpha^2 v + sigma^2)` at the end of the step, where `sigma` is left by a prediction of the mean.

    Raises:
        UserError: the model does not know its data.
    """
    data, start = model.data_gaussian, plan.candidate.sampling.start
    if data is None or (start == "gaussian" and not len(data.directions)):
        what = "means" if data is None else "covariance"
        raise UserError(f"is {start}, but this model comes without the data's {what}", field="start", nearest="model")
    if start == "mean":
        data = DataGaussian.of_means(data.means)
    level, end = (_Level(scheduler, step.time) for step in plan.steps[:2])
    factors = (end.alpha**2 * data.variances.float() + end.sigma**2).sqrt() - end.sigma
    return data, factors / (end.alpha - end.sigma * level.alpha / level.sigma)


def started_output(model: FlexDiT, scheduler: Any, sample: Tensor, labels: Tensor, plan: Plan) -> Tensor:
    """Give the output of a plan's first step, (B, C, ...), for samples (B, C, ...) of pure noise, without a model call.

    Raises:
        UserError: the model does not know its data, or knows those of other sizes.
    """
    data, factors = started_data(model, scheduler, plan)
    if data.means.shape[1:] != sample.shape[1:]:
        raise UserError(
            f"takes data of {tuple(data.means.shape[1:])}, but samples are {tuple(sample.shape[1:])}", field="start"
        )
    level, sample, means = _Level(scheduler, plan.steps[0].time), sample.float(), data.means[labels].float()
    noise = (sample - level.alpha * means) / level.sigma
    return level.output(means + data.spread(noise, factors), sample)


class _Level:
    """How data and noise are mixed at one time, and what the model predicts of them.

    Attributes:
        alpha: factor of the data.
        sigma: factor of the noise.
    """

    def __init__(self, scheduler: Any, time: float) -> None:
        clock = clock_of(scheduler)
        if clock.is_flow:
            self.alpha, self.sigma, self._prediction = 1 - time, time, "flow"
        else:
            product = float(scheduler.alphas_cumprod[round(time * clock.num_train_timesteps)])
            self.alpha, self.sigma = product**0.5, (1 - product) ** 0.5
            self._prediction = str(scheduler.config.get("prediction_type", "epsilon"))

    def clean(self, output: Tensor, sample: Tensor) -> Tensor:
        """Give the data that an output predicts."""
        match self._prediction:
            case "flow":
                return sample - self.sigma * output
            case "v_prediction":
                return self.alpha * sample - self.sigma * output
            case "sample":
                return output
            case _:
                return (sample - self.sigma * output) / self.alpha

    def output(self, clean: Tensor, sample: Tensor) -> Tensor:
        """Give the output that predicts data."""
        match self._prediction:
            case "flow":
                return (sample - clean) / self.sigma
            case "v_prediction":
                return (self.alpha * sample - clean) / self.sigma
            case "sample":
                return clean
            case _:
                return (sample - self.alpha * clean) / self.sigma
