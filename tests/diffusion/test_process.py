"""Training objectives against their definitions."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from flexsearch.diffusion.process import FlowMatching, NoisePrediction, process_of
from flexsearch.errors import UserError


def pair() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    clean = torch.rand(5, 2, 4, 4, generator=generator) * 2 - 1
    return clean, torch.randn(clean.shape, generator=generator), torch.tensor([0.0, 0.0015, 0.3, 0.7, 0.999])


def test_flow_matching_agrees_with_diffusers() -> None:
    clean, noise, time = pair()
    process, scheduler = process_of(FlowMatchEulerDiscreteScheduler()), FlowMatchEulerDiscreteScheduler()
    index = torch.tensor([999, 700, 300, 10, 0])
    timesteps = scheduler.timesteps[index]
    expected = scheduler.scale_noise(clean, timesteps, noise)
    torch.testing.assert_close(process.noisy(clean, noise, timesteps / 1000), expected)
    torch.testing.assert_close(process.model_time(timesteps / 1000), timesteps)
    assert process.loss(noise - clean, clean=clean, noise=noise, time=time).abs().max() == 0
    off = process.loss(noise - clean + 0.5, clean=clean, noise=noise, time=time)
    torch.testing.assert_close(off, torch.full((5,), 0.25))


def test_noise_prediction_agrees_with_diffusers() -> None:
    clean, noise, time = pair()
    scheduler = DDPMScheduler()
    process = process_of(scheduler)
    index = process.model_time(time)
    assert index.tolist() == [0, 1, 300, 700, 999]
    torch.testing.assert_close(process.noisy(clean, noise, time), scheduler.add_noise(clean, noise, index))
    assert process.loss(noise, clean=clean, noise=noise, time=time).abs().max() == 0


def test_learned_variance_adds_the_variational_bound() -> None:
    """Against KL divergence and discretised likelihood from torch.distributions, with diffusers' posterior."""
    clean, noise, time = pair()
    scheduler = DDPMScheduler()
    process = NoisePrediction(scheduler.alphas_cumprod)
    generator = torch.Generator().manual_seed(4)
    output = torch.randn(5, 4, 4, 4, generator=generator) * 0.5
    found = process.loss(output, clean=clean, noise=noise, time=time)
    betas, abar = scheduler.betas.double(), scheduler.alphas_cumprod.double()
    for row, index in enumerate([0, 1, 300, 700, 999]):
        predicted, interpolation = output[row, :2].double(), (output[row, 2:].double() + 1) / 2
        x0, eps = clean[row].double(), noise[row].double()
        previous = abar[index - 1] if index else torch.tensor(1.0).double()
        noisy = abar[index].sqrt() * x0 + (1 - abar[index]).sqrt() * eps
        first, second = betas[index] * previous.sqrt(), (1 - previous) * (1 - betas[index]).sqrt()

        def mean_of(
            clean_one: Tensor, a: Tensor = first, b: Tensor = second, x: Tensor = noisy, i: int = index
        ) -> Tensor:
            return (a * clean_one + b * x) / (1 - abar[i])

        guess = (noisy - (1 - abar[index]).sqrt() * predicted) / abar[index].sqrt()
        small = max(index, 1)
        posterior = betas[small] * (1 - abar[small - 1]) / (1 - abar[small])
        log_variance = interpolation * betas[index].log() + (1 - interpolation) * posterior.log()
        model = torch.distributions.Normal(mean_of(guess), (0.5 * log_variance).exp())
        if index == 0:
            upper = torch.where(x0 > 0.999, torch.ones_like(x0), model.cdf(x0 + 1 / 255))
            lower = torch.where(x0 < -0.999, torch.zeros_like(x0), model.cdf(x0 - 1 / 255))
            bound = -(upper - lower).clamp(min=1e-12).log()
        else:
            true = torch.distributions.Normal(mean_of(x0), posterior.sqrt())
            bound = torch.distributions.kl_divergence(true, model)
        expected = ((predicted - eps) ** 2).mean() + bound.mean() / math.log(2)
        assert float(found[row]) == pytest.approx(float(expected), rel=2e-3)


def test_the_bound_trains_the_variance_alone() -> None:
    clean, noise, time = pair()
    output = torch.randn(5, 4, 4, 4, requires_grad=True)
    process = NoisePrediction(DDPMScheduler().alphas_cumprod)
    process.loss(output, clean=clean, noise=noise, time=time).sum().backward()
    assert output.grad is not None
    simple = output.detach()[:, :2].clone().requires_grad_()
    process.loss(simple, clean=clean, noise=noise, time=time).sum().backward()
    torch.testing.assert_close(output.grad[:, :2], simple.grad)
    assert output.grad[:, 2:].abs().sum() > 0


def test_the_scheduler_says_which_objective() -> None:
    assert isinstance(process_of(FlowMatchEulerDiscreteScheduler()), FlowMatching)
    for scheduler in (DDIMScheduler(), DPMSolverMultistepScheduler()):
        assert isinstance(process_of(scheduler), NoisePrediction)
    with pytest.raises(UserError, match="epsilon"):
        process_of(DDIMScheduler(prediction_type="v_prediction"))


def test_min_snr_weighs_the_prediction_of_clean_data_by_the_smaller_of_snr_and_gamma() -> None:
    """arXiv 2303.09556, equation 3: written out as an error of clean data, for both objectives."""
    clean, noise, _ = pair()
    time = torch.tensor([0.05, 0.2, 0.4, 0.7, 0.95])
    error = 0.1 * torch.randn(clean.shape)

    flow = process_of(FlowMatchEulerDiscreteScheduler(), max_snr=5.0)
    noisy, output = flow.noisy(clean, noise, time), noise - clean + error
    wide = time.view(-1, 1, 1, 1)
    snr = ((1 - time) / time) ** 2
    expected = snr.clamp(max=5) * (noisy - wide * output - clean).square().flatten(1).mean(1)
    torch.testing.assert_close(flow.loss(output, clean=clean, noise=noise, time=time), expected)

    scheduler = DDPMScheduler()
    process = process_of(scheduler, max_snr=5.0)
    abar = scheduler.alphas_cumprod[process.model_time(time)]
    noisy, output, wide = process.noisy(clean, noise, time), noise + error, abar.view(-1, 1, 1, 1)
    found = process.loss(output, clean=clean, noise=noise, time=time)
    predicted = (noisy - (1 - wide).sqrt() * output) / wide.sqrt()
    expected = (abar / (1 - abar)).clamp(max=5) * (predicted - clean).square().flatten(1).mean(1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_min_snr_leaves_the_bound_on_a_learned_variance() -> None:
    clean, noise, time = pair()
    output = torch.cat([noise, torch.randn_like(noise)], dim=1)  # no error of the noise: the bound alone
    plain, weighted = process_of(DDPMScheduler()), process_of(DDPMScheduler(), max_snr=5.0)
    expected = plain.loss(output, clean=clean, noise=noise, time=time)
    assert torch.equal(weighted.loss(output, clean=clean, noise=noise, time=time), expected)
