"""Sampling: paired by image, guided in one place, exact where the answer is known."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from flexsearch.data.conditions import ClassConditions
from flexsearch.diffusion.sampling import denoise, generate, initial_noise, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import Note
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.sampling import Sampling

CLASSES = ClassConditions(num_classes=10)
SCHEDULER = FlowMatchEulerDiscreteScheduler()


def batches(model: FlexDiT, *, batch: int, num: int = 6, seed: int = 0, **settings: Any) -> Iterator[Tensor]:
    sampling = SamplingSettings(**settings)
    return generate(
        model,
        SCHEDULER,
        plan_of(model, SCHEDULER, Sampling(steps=3), sampling),
        conditions=CLASSES,
        num_images=num,
        batch=batch,
        seed=seed,
        settings=sampling,
    )


def drawn(model: FlexDiT, **options: Any) -> Tensor:
    return torch.cat(list(batches(model, **options)))


def with_room_for(model: FlexDiT, rows: int) -> FlexDiT:
    """On a device whose memory holds so many rows of a model call."""

    def room(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")

    found = model.clone()
    found.register_forward_pre_hook(room)
    return found


def test_what_memory_does_not_hold_is_drawn_in_parts(tiny_model: FlexDiT) -> None:
    """In as many batches as before; every image is the one that smaller batches give."""
    with pytest.warns(Note, match="out of memory while drawing 5 at once: 3 at a time from here on") as said:
        small = list(batches(with_room_for(tiny_model, 3), batch=5, num=12))
    assert [len(one) for one in small] == [5, 5, 2]
    assert len([one for one in said if issubclass(one.category, Note)]) == 1
    assert torch.equal(small[0][:3], drawn(tiny_model, batch=3, num=3))
    torch.testing.assert_close(torch.cat(small), drawn(tiny_model, batch=5, num=12), rtol=1e-4, atol=1e-4)


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


class NoGenerator:
    """Stands for `torch.Generator`, which knows no meta device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def manual_seed(self, seed: int) -> None:
        assert seed >= 0


@pytest.mark.parametrize(
    "scheduler_class", [FlowMatchEulerDiscreteScheduler, DDIMScheduler, DPMSolverMultistepScheduler]
)
def test_the_loop_never_waits_for_the_device(
    tiny_model: FlexDiT, scheduler_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meta tensors have no values: whatever would read one back to the host raises."""
    monkeypatch.setattr(torch, "Generator", NoGenerator)
    on_meta = {name: value.to("meta") for name, value in CLASSES.of_samples(range(2)).items()}
    scheduler, settings = scheduler_class(), SamplingSettings(guidance=2.0)
    found = denoise(
        tiny_model.to("meta"),
        scheduler,
        plan_of(tiny_model, scheduler, Sampling(steps=4), settings),
        noise=torch.empty(2, 1, 16, 16, device="meta"),
        condition=on_meta,
        none=on_meta,
        settings=settings,
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
    settings = SamplingSettings(guidance=2.5)
    found = denoise(
        tiny_model,
        scheduler,
        plan_of(tiny_model, scheduler, Sampling(steps=1), settings),
        noise=noise,
        condition=condition,
        none=CLASSES.none(2),
        settings=settings,
    )
    time = torch.tensor([1000.0, 1000.0])
    with torch.inference_mode():
        labelled = tiny_model(noise, time, **condition).sample
        free = tiny_model(noise, time, class_labels=torch.tensor([10, 10])).sample
    torch.testing.assert_close(found, noise - (free + 2.5 * (labelled - free)), rtol=1e-4, atol=1e-4)
