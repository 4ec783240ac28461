"""Sampling: paired by image, guided in one place, exact where the answer is known."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from flexsearch.data.conditions import ClassConditions
from flexsearch.diffusion.sampling import denoise, generate, initial_noise, sampler_times
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.models.flexdit import FlexDiT

CLASSES = ClassConditions(num_classes=10)
SCHEDULERS = [FlowMatchEulerDiscreteScheduler, DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler]


def drawn(model: FlexDiT, *, batch: int, num: int = 6, seed: int = 0, **settings: Any) -> Tensor:
    batches = generate(
        model,
        FlowMatchEulerDiscreteScheduler(),
        conditions=CLASSES,
        num_images=num,
        batch=batch,
        sampler_steps=3,
        seed=seed,
        settings=SamplingSettings(**settings),
    )
    return torch.cat(list(batches))


def test_an_image_does_not_depend_on_its_batch(tiny_model: FlexDiT) -> None:
    torch.testing.assert_close(drawn(tiny_model, batch=6), drawn(tiny_model, batch=4), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(drawn(tiny_model, batch=6)[:3], drawn(tiny_model, batch=3, num=3), rtol=1e-4, atol=1e-4)


def test_seeds_decide(tiny_model: FlexDiT) -> None:
    assert torch.equal(drawn(tiny_model, batch=6), drawn(tiny_model, batch=6))
    assert not torch.allclose(drawn(tiny_model, batch=6), drawn(tiny_model, batch=6, seed=1))


def test_noise_is_standard_normal() -> None:
    noise = initial_noise(range(500), shape=(1, 16, 16), seed=0)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    assert not torch.equal(noise[0], noise[1])


class Oracle(torch.nn.Module):
    """Knows the clean data: predicts the exact velocity or noise for it."""

    def __init__(self, clean: Tensor, scheduler: Any) -> None:
        super().__init__()
        self.clean, self.scheduler = clean, scheduler
        self.seen: list[float] = []

    def grid_of(self, _: Tensor) -> None:
        return None

    def plan(self, _: None) -> SimpleNamespace:
        return SimpleNamespace(stage_of=lambda time: self.seen.append(time) or 0)

    def forward(self, noisy: Tensor, timestep: Tensor, *, stage: int, class_labels: Tensor) -> SimpleNamespace:
        if isinstance(self.scheduler, FlowMatchEulerDiscreteScheduler):
            return SimpleNamespace(sample=(noisy - self.clean) / (timestep[0] / 1000))
        abar = self.scheduler.alphas_cumprod[timestep[0].long()]
        return SimpleNamespace(sample=(noisy - abar.sqrt() * self.clean) / (1 - abar).sqrt())


@pytest.mark.parametrize("scheduler_class", SCHEDULERS)
def test_an_oracle_arrives_at_the_data(scheduler_class: Any) -> None:
    scheduler = scheduler_class()
    clean = torch.linspace(-0.9, 0.9, 64).reshape(1, 1, 8, 8)
    oracle = Oracle(clean, scheduler)
    noise, condition = initial_noise([0], shape=(1, 8, 8), seed=0), CLASSES.of_samples([3])
    found = denoise(
        oracle,
        scheduler,
        noise=noise,
        condition=condition,
        none=CLASSES.none(1),
        sampler_steps=20,
        settings=SamplingSettings(),
    )
    torch.testing.assert_close(found, clean, atol=0.06, rtol=0)
    assert oracle.seen == sampler_times(scheduler, 20)
    assert oracle.seen == sorted(oracle.seen, reverse=True)
    assert 0 <= oracle.seen[-1] < oracle.seen[0] <= 1


@pytest.mark.parametrize(
    "scheduler_class", [FlowMatchEulerDiscreteScheduler, DDIMScheduler, DPMSolverMultistepScheduler]
)
def test_the_loop_never_waits_for_the_device(
    tiny_model: FlexDiT, scheduler_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meta tensors have no values: whatever would read one back to the host raises."""
    monkeypatch.setattr(torch, "Generator", lambda _: SimpleNamespace(manual_seed=lambda _: None))
    on_meta = {name: value.to("meta") for name, value in CLASSES.of_samples(range(2)).items()}
    found = denoise(
        tiny_model.to("meta"),
        scheduler_class(),
        noise=torch.empty(2, 1, 16, 16, device="meta"),
        condition=on_meta,
        none=on_meta,
        sampler_steps=4,
        settings=SamplingSettings(guidance=2.0),
    )
    assert found.shape == (2, 1, 16, 16)
    with pytest.raises(RuntimeError, match="meta"):
        found.max().item()


def test_guidance_moves_away_from_the_unlabelled_output(tiny_model: FlexDiT) -> None:
    plain, one, three = (
        drawn(tiny_model, batch=6, **options) for options in ({}, {"guidance": 1.0}, {"guidance": 3.0})
    )
    assert torch.equal(plain, one)
    assert not torch.allclose(one, three)


def test_guidance_is_classifier_free_guidance(tiny_model: FlexDiT) -> None:
    """One Euler step, written out."""
    scheduler = FlowMatchEulerDiscreteScheduler()
    noise, condition = initial_noise([0, 1], shape=(1, 16, 16), seed=0), {"class_labels": torch.tensor([2, 5])}
    found = denoise(
        tiny_model,
        scheduler,
        noise=noise,
        condition=condition,
        none=CLASSES.none(2),
        sampler_steps=1,
        settings=SamplingSettings(guidance=2.5),
    )
    time = torch.tensor([1000.0, 1000.0])
    with torch.inference_mode():
        labelled = tiny_model(noise, time, **condition).sample
        free = tiny_model(noise, time, class_labels=torch.tensor([10, 10])).sample
    torch.testing.assert_close(found, noise - (free + 2.5 * (labelled - free)), rtol=1e-4, atol=1e-4)
