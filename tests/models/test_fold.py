"""Gain in weights: the same output as gain at run time, and no bit of what has none."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import LATENT, TEXT, VIDEO
from conftest import randomised
from diffusers import (
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    LatteTransformer3DModel,
    PixArtTransformer2DModel,
)
from torch import Tensor

from flexsearch.data.conditions import ClassConditions, random_condition
from flexsearch.diffusion.sampling import generate, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.fold import fold_gain, unfold_gain
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.gain import NO_GAIN, Gain
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.timetable import Timetable

BASES: dict[str, Callable[[], Any]] = {
    "dit": lambda: DiTTransformer2DModel(**LATENT, num_embeds_ada_norm=10),
    "pixart": lambda: PixArtTransformer2DModel(**TEXT),
    "latte": lambda: LatteTransformer3DModel(**VIDEO),
}
SCHEDULES = {
    "dense": DensitySchedule.all_dense(6),
    "sparse": DensitySchedule(
        segments=(Pooling(depth=1), Sdtm(sparse=1, dense=0), Dense(depth=2)), timetable=Timetable(grids=(3,))
    ),
}


def model_of(backbone: str, schedule: DensitySchedule) -> FlexDiT:
    return randomised(FlexDiT.from_base(BASES[backbone](), backbone=backbone, schedule=schedule)).eval()


def output(model: FlexDiT, gain: Gain) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    noisy = torch.randn(2, *model.shape.sample_size, generator=generator)
    condition = random_condition(model.shape, batch=2, generator=generator)
    graph = replace(model.graphs()[0], gain=gain)
    with torch.inference_mode():
        return model(noisy, torch.full((2,), 400.0), graph=graph, **condition).sample


def weights(model: FlexDiT) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("backbone", BASES)
@pytest.mark.usefixtures("double_precision")
def test_folded_equals_unfolded(backbone: str, schedule: str) -> None:
    model = model_of(backbone, SCHEDULES[schedule])
    plain, before = output(model, NO_GAIN), weights(model)
    for at in (0, 2, 3, 5):  # between segments, inside a module, and in the last block
        gain = Gain(stream=0.8, at=at, skip=0.7)
        expected = output(model, gain)
        assert not torch.allclose(expected, plain, rtol=1e-3)
        left = fold_gain(model, Sampling(steps=1, gain=gain))
        assert left == (NO_GAIN if backbone == "dit" else Gain(stream=0.8, at=at))
        torch.testing.assert_close(output(model, left), expected, rtol=1e-5, atol=1e-5)
        unfold_gain(model, gain.without(left))
        for name, value in weights(model).items():
            torch.testing.assert_close(value, before[name], rtol=1e-12, atol=0)


def test_nothing_to_fold_changes_no_bit() -> None:
    """A gain of 1, and one before the head, which its norm divides out."""
    model = model_of("dit", SCHEDULES["sparse"])
    before, plain = weights(model), output(model, NO_GAIN)
    for gain in (NO_GAIN, Gain(stream=0.5, at=6)):
        assert fold_gain(model, Sampling(steps=1, gain=gain)) == NO_GAIN
        assert all(torch.equal(value, before[name]) for name, value in weights(model).items())
        torch.testing.assert_close(output(model, gain), plain, rtol=0, atol=1e-5)


def samples(model: FlexDiT, sampling: Sampling) -> Tensor:
    scheduler, settings = FlowMatchEulerDiscreteScheduler(), SamplingSettings(guidance=1.5)
    (drawn,) = generate(
        model,
        scheduler,
        plan_of(model, scheduler, sampling, settings),
        conditions=ClassConditions(num_classes=10),
        num_images=2,
        batch=2,
        seed=0,
        settings=settings,
    )
    return drawn


@pytest.mark.parametrize(
    ("at", "reuse", "is_left"),
    [(1, "span", True), (3, "span", True), (0, "span", False), (5, "span", False), (3, "modules", False)],
)
@pytest.mark.usefixtures("double_precision")
def test_a_stream_gain_stays_where_the_residual_of_its_block_is_reused(at: int, reuse: Any, is_left: bool) -> None:
    model = model_of("dit", SCHEDULES["sparse"])
    cache = Cache(pattern="FFpFpn", first=1, last=1, reuse=reuse)
    sampling = Sampling(steps=6, solver="ab2", cache=cache, gain=Gain(stream=0.9, at=at, skip=0.8))
    expected = samples(model, sampling)
    left = fold_gain(model, sampling)
    assert left == (Gain(stream=0.9, at=at) if is_left else NO_GAIN)
    torch.testing.assert_close(samples(model, replace(sampling, gain=left)), expected, rtol=1e-5, atol=1e-5)


def test_weights_of_roles_that_are_not_known_leave_all_of_it() -> None:
    model, gain = model_of("dit", SCHEDULES["sparse"]), Gain(stream=0.9, at=1, skip=0.8)
    model.merges["3"] = torch.nn.Linear(24, 24)
    before = weights(model)
    assert fold_gain(model, Sampling(steps=1, gain=gain)) == gain
    assert all(torch.equal(value, before[name]) for name, value in weights(model).items())
