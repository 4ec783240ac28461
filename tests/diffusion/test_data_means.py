"""Data means: what they are of a model whose answer is known, and that a loop takes them for a model call."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from flexsearch.data.conditions import ClassConditions
from flexsearch.diffusion.data_means import _Level, measure_means
from flexsearch.diffusion.sampling import denoise, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule import Cache, DensitySchedule, Sampling

CLASSES = ClassConditions(num_classes=10)
SCHEDULERS = [
    FlowMatchEulerDiscreteScheduler(),
    *(
        DDIMScheduler(timestep_spacing="trailing", clip_sample=False, prediction_type=one)
        for one in ("epsilon", "sample")
    ),
    DDIMScheduler(timestep_spacing="trailing", clip_sample=False, prediction_type="v_prediction"),
]
each_prediction = pytest.mark.parametrize("scheduler", SCHEDULERS, ids=["flow", "epsilon", "sample", "v"])


@pytest.fixture
def model(tiny_model: FlexDiT) -> FlexDiT:
    tiny_model.set_schedule(DensitySchedule.all_dense(6))
    return tiny_model.eval()


def drawn(model: FlexDiT, scheduler: Any, sampling: Sampling, *, noise: torch.Tensor, **settings: Any) -> torch.Tensor:
    chosen = SamplingSettings(**settings)
    return denoise(
        model,
        scheduler,
        plan_of(model, scheduler, sampling, chosen),
        noise=noise,
        condition=CLASSES.of_samples(range(len(noise))),
        none=CLASSES.none(len(noise)),
        settings=chosen,
    )


@each_prediction
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_a_mean_that_is_what_the_model_says_changes_no_image(model: FlexDiT, scheduler: Any, guidance: float) -> None:
    """Of one noise, the mean over noises is what the model predicts from it."""
    noise = torch.randn(1, 1, 16, 16).expand(3, -1, -1, -1)
    sampling = Sampling(steps=4, solver="ab2")
    plan = plan_of(model, scheduler, sampling, SamplingSettings())
    timestep = torch.full((11,), round(1000 * plan.steps[0].time))
    labels = torch.arange(11)
    with torch.no_grad():
        said = model(noise[:1].expand(11, -1, -1, -1), timestep, class_labels=labels).sample
    level = _Level(scheduler, plan.steps[0].time)
    model.set_data_means(level.clean(said, noise[:1]))
    started = Sampling(steps=4, solver="ab2", start="mean")
    expected = drawn(model, scheduler, sampling, noise=noise, guidance=guidance)
    found = drawn(model, scheduler, started, noise=noise, guidance=guidance)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    other = drawn(model, scheduler, sampling, noise=noise.flip(-1), guidance=guidance)
    assert not torch.allclose(other, expected, atol=1e-2), "noise matters"


class Knows:
    """Stands for a model that knows the mean of its data, which is its label."""

    def __init__(self, scheduler: Any, time: float, shape: Any) -> None:
        self.level, self.shape = _Level(scheduler, time), shape
        self.device, self.dtype, self.rows = torch.device("cpu"), torch.float32, list[int]()

    def __call__(self, noisy: torch.Tensor, timestep: torch.Tensor, *, class_labels: torch.Tensor) -> Any:
        self.rows.append(len(noisy))
        off = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(sum(self.rows)))
        clean = class_labels[:, None, None, None] + 0.04 * off
        return type("Output", (), {"sample": self.level.output(clean, noisy)})


@each_prediction
def test_means_are_averages_over_noises(model: FlexDiT, scheduler: Any) -> None:
    plan = plan_of(model, scheduler, Sampling(steps=4), SamplingSettings())
    known: Any = Knows(scheduler, plan.steps[0].time, model.shape)
    told: list[tuple[int, int]] = []
    means = measure_means(known, scheduler, plan, batch=4, seed=0, report=lambda *one: told.append(one))
    assert means.shape == (11, 1, 16, 16)
    assert told == [(4, 11), (8, 11), (11, 11)]
    error = (means - torch.arange(11.0)[:, None, None, None]).square().mean().sqrt()
    assert 0.005 < float(error) < 0.02, "a quarter of one prediction's, by 16 noises"


def test_means_are_kept_with_the_weights(model: FlexDiT, tmp_path: Path) -> None:
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    assert "data_means" not in weights
    means = torch.randn(11, 1, 16, 16)
    model.set_data_means(means)
    assert torch.equal(model.clone().data_means, means)
    model.save_pretrained(tmp_path)
    read = FlexDiT.from_pretrained(tmp_path)
    assert torch.equal(read.data_means, means)
    read.load_state_dict(weights)
    assert torch.equal(read.data_means, means), "weights of another training leave them"
    fresh = model.clone()
    fresh.data_means = None
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.data_means, means)


def test_a_model_without_means_says_so(model: FlexDiT) -> None:
    flow, sampling, noise = SCHEDULERS[0], Sampling(steps=3, start="mean"), torch.randn(2, 1, 16, 16)
    with pytest.raises(UserError, match="start: takes the data mean, but this model comes without data means"):
        drawn(model, flow, sampling, noise=noise)
    model.set_data_means(torch.zeros(11, 1, 16, 16))
    assert drawn(model, flow, sampling, noise=noise).isfinite().all()
    cached = Sampling(steps=6, start="mean", cache=Cache(pattern="FFpnF"))
    assert drawn(model, flow, cached, noise=noise).isfinite().all()
