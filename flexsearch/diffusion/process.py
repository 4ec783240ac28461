"""Training objectives: how clean data become a training pair, and what the model is asked to predict.

Diffusion time is a fraction in [0, 1]: 0 is data, 1 is noise. The base's scheduler says which objective it was trained
with (`process_of`). Shapes: B batch, C data channels, H x W data or latent pixels; videos have frames between C and H.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from flexsearch.diffusion.solvers import clock_of
from flexsearch.errors import UserError


class DiffusionProcess(Protocol):
    """A training objective.

    `noisy` mixes clean data and noise, `model_time` is the timestep that the model reads, `loss` compares one output.
    """

    name: str

    def noisy(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """(B, C, H, W) noisy data at `time` (B,) in [0, 1]."""

    def model_time(self, time: Tensor) -> Tensor:
        """(B,) the timestep as the model was trained to read it."""

    def loss(self, output: Tensor, *, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """(B,) loss of one model output per example."""


MIN_SNR = 5.0
"""gamma of Min-SNR weights, as their paper and FlexDiT's authors use it."""


def _per_pixel_mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(dim=1)


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), to be combined with `like` (B, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))


class FlowMatching:
    """Straight paths from data to noise; the model predicts the velocity `noise - clean`.

    Source: Lipman et al. 2023 (arXiv 2210.02747), in the convention of diffusers' FlowMatchEulerDiscreteScheduler.

    Args:
        num_train_timesteps: of the base's clock.
        max_snr: gamma of Min-SNR weights (Hang et al. 2023, arXiv 2303.09556): clean data are predicted with weight
            min(SNR, gamma), where SNR = ((1 - t) / t)^2; of a velocity that is min((1 - t)^2, gamma t^2). None
            weighs all times alike.
    """

    name = "flow_matching"

    def __init__(self, num_train_timesteps: int = 1000, *, max_snr: float | None = None) -> None:
        self.num_train_timesteps = num_train_timesteps
        self._max_snr = max_snr

    def noisy(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        weight = _per_sample(time, clean).to(clean.dtype)
        return (1 - weight) * clean + weight * noise

    def model_time(self, time: Tensor) -> Tensor:
        return time * self.num_train_timesteps

    def loss(self, output: Tensor, *, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        loss = _per_pixel_mean((output.float() - (noise - clean).float()) ** 2)
        if self._max_snr is None:
            return loss
        return loss * torch.minimum((1 - time) ** 2, self._max_snr * time**2)


class NoisePrediction:
    """The model predicts the noise and, where it has twice the channels, an interpolated variance.

    The loss is `L_simple` plus, with learned variance, the variational bound with the mean held fixed, weighted by
    T/1000. Source: Nichol & Dhariwal 2021 (arXiv 2102.09672), equations 14-16, as DiT trains it.

    Args:
        alphas_cumprod: (T,) abar of every timestep.
        max_snr: gamma of Min-SNR weights (arXiv 2303.09556), of noise min(SNR, gamma) / SNR with
            SNR = abar / (1 - abar), on `L_simple` alone, as FlexDiT's authors train; None weighs all times alike.
    """

    name = "noise_prediction"

    def __init__(self, alphas_cumprod: Tensor, *, max_snr: float | None = None) -> None:
        abar = alphas_cumprod.double()
        abar_previous = torch.cat([abar.new_ones(1), abar[:-1]])
        betas = 1 - abar / abar_previous
        posterior_variance = betas * (1 - abar_previous) / (1 - abar)
        posterior_variance[0] = posterior_variance[1]  # zero at the last step; its logarithm is clipped
        self.num_train_timesteps = len(abar)
        self._abar = abar
        self._weight = None if max_snr is None else (max_snr * (1 - abar) / abar).clamp(max=1.0)
        self._log_beta = betas.log()
        self._log_posterior_variance = posterior_variance.log()
        self._mean_from_clean = betas * abar_previous.sqrt() / (1 - abar)
        self._mean_from_noisy = (1 - abar_previous) * (1 - betas).sqrt() / (1 - abar)

    def _index(self, time: Tensor) -> Tensor:
        return (time * self.num_train_timesteps).long().clamp(0, self.num_train_timesteps - 1)

    def _at(self, table: Tensor, index: Tensor, like: Tensor) -> Tensor:
        return _per_sample(table.to(index.device)[index].float(), like)

    def noisy(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        abar = self._at(self._abar, self._index(time), clean)
        return (abar.sqrt() * clean + (1 - abar).sqrt() * noise).to(clean.dtype)

    def model_time(self, time: Tensor) -> Tensor:
        return self._index(time)

    def loss(self, output: Tensor, *, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        channels = clean.shape[1]
        predicted_noise = output[:, :channels].float()
        loss = _per_pixel_mean((predicted_noise - noise.float()) ** 2)
        if self._weight is not None:
            loss = loss * self._weight.to(loss.device)[self._index(time)].float()
        if output.shape[1] == 2 * channels:
            bound = self._variational_bound(predicted_noise.detach(), output[:, channels:].float(), clean, noise, time)
            loss = loss + self.num_train_timesteps / 1000 * bound
        return loss

    def _variational_bound(
        self, predicted_noise: Tensor, variance: Tensor, clean: Tensor, noise: Tensor, time: Tensor
    ) -> Tensor:
        index = self._index(time)
        noisy = self.noisy(clean, noise, time).float()
        abar = self._at(self._abar, index, clean)
        predicted_clean = (noisy - (1 - abar).sqrt() * predicted_noise) / abar.sqrt()
        from_clean = self._at(self._mean_from_clean, index, clean)
        from_noisy = self._at(self._mean_from_noisy, index, clean)
        true_mean = from_clean * clean.float() + from_noisy * noisy
        mean = from_clean * predicted_clean + from_noisy * noisy
        low, high = (self._at(table, index, clean) for table in (self._log_posterior_variance, self._log_beta))
        log_variance = low + (variance + 1) / 2 * (high - low)
        divergence = 0.5 * (
            log_variance - low - 1 + (low - log_variance).exp() + (true_mean - mean) ** 2 * (-log_variance).exp()
        )
        likelihood = _discretized_gaussian_nll(clean.float(), mean, log_variance)
        first = _per_sample(index == 0, clean)
        return _per_pixel_mean(torch.where(first, likelihood, divergence)) / torch.log(torch.tensor(2.0))


def _discretized_gaussian_nll(data: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Negative log-likelihood of `data` in [-1, 1], in 256 bins, under a Gaussian (arXiv 2006.11239, section 3.3)."""
    inverse_sd = (-0.5 * log_variance).exp()
    upper = torch.special.ndtr((data - mean + 1 / 255) * inverse_sd)
    lower = torch.special.ndtr((data - mean - 1 / 255) * inverse_sd)
    mass = torch.where(data < -0.999, upper, torch.where(data > 0.999, 1 - lower, upper - lower))
    return -mass.clamp(min=1e-12).log()


def process_of(scheduler: Any, *, max_snr: float | None = None) -> DiffusionProcess:
    """Give the training objective that belongs to a diffusers scheduler.

    Args:
        scheduler: of the base.
        max_snr: gamma of Min-SNR weights; None weighs all times alike.

    Raises:
        UserError: the scheduler's `prediction_type` is one that flexsearch does not train.
    """
    if clock_of(scheduler).is_flow:
        return FlowMatching(scheduler.config.num_train_timesteps, max_snr=max_snr)
    prediction_type = getattr(scheduler.config, "prediction_type", None)
    if prediction_type == "epsilon":
        levels = scheduler.alphas_cumprod
        if not (torch.isfinite(levels).all() and (levels > 0).all() and (levels < 1).all()):
            raise UserError(
                f"must have levels of noise above 0 and below 1, but has {levels.min():.3g} to {levels.max():.3g}",
                field="base scheduler.alphas_cumprod",
            )
        return NoisePrediction(levels, max_snr=max_snr)
    raise UserError(
        f"must predict noise (epsilon) or flow-matching velocity, but got {prediction_type!r}",
        field="scheduler.prediction_type",
        nearest="epsilon",
    )
