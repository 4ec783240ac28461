"""Mean and covariance of the data, of models whose answer is known, and what a first step makes of them."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from flexsearch.data.conditions import ClassConditions
from flexsearch.diffusion.data_gaussian import DIRECTIONS, _Level, measure_means, with_covariance
from flexsearch.diffusion.sampling import denoise, plan_of, walk
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import UserError
from flexsearch.models.data_gaussian import DataGaussian
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
    model.set_data_gaussian(DataGaussian.of_means(level.clean(said, noise[:1])))
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


def some_data(*, num_directions: int = 3) -> DataGaussian:
    directions, _ = torch.linalg.qr(torch.randn(256, num_directions))
    return DataGaussian(
        means=torch.randn(11, 1, 16, 16),
        directions=directions.T.reshape(num_directions, 1, 16, 16).contiguous(),
        variances=torch.cat([torch.rand(num_directions) * 5 + 1, torch.tensor([0.3])]),
    )


class Normal:
    """Stands for a model whose data are normally distributed: its prediction is the exact one."""

    def __init__(self, model: FlexDiT, scheduler: Any, data: DataGaussian) -> None:
        self.shape, self.data_gaussian, self.schedule = model.shape, data, model.schedule
        self._scheduler, self._model = scheduler, model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def eval(self) -> "Normal":
        return self

    def __call__(self, noisy: torch.Tensor, timestep: torch.Tensor, *, class_labels: torch.Tensor, **_: Any) -> Any:
        level, data = _Level(self._scheduler, float(timestep[0]) / 1000), self.data_gaussian
        means = data.means[class_labels]
        factors = level.alpha * data.variances / (level.alpha**2 * data.variances + level.sigma**2)
        clean = means + data.spread(noisy - level.alpha * means, factors)
        return type("Output", (), {"sample": level.output(clean, noisy), "left": ()})


@each_prediction
@pytest.mark.parametrize("solver", ["base", "ab2"])
def test_the_covariance_takes_a_first_step_to_where_many_small_ones_go(
    model: FlexDiT, scheduler: Any, solver: Any
) -> None:
    """Of normally distributed data; the mean alone does not."""
    data, noise, ends = some_data(), torch.randn(4, 1, 16, 16), {}
    exact: Any = Normal(model, scheduler, data)

    def after(steps: int, share: int, **sampling: Any) -> torch.Tensor:
        settings = SamplingSettings()
        plan = plan_of(model, scheduler, Sampling(steps=steps, solver=solver, **sampling), settings)
        walked = walk(
            exact,
            scheduler,
            plan,
            noise=noise,
            condition=CLASSES.of_samples(range(4)),
            none=CLASSES.none(4),
            settings=settings,
        )
        return next(itertools.islice(walked, share - 1, None))[0]

    many = after(200, 50)
    for start in ("mean", "gaussian"):
        ends[start] = float((after(4, 1, start=start) - many).square().mean().sqrt())
    assert ends["gaussian"] < ends["mean"] / 10
    assert ends["gaussian"] < 0.02 * float(many.square().mean().sqrt())


def test_the_covariance_is_that_of_samples_around_their_means() -> None:
    data = some_data(num_directions=2)
    factors = data.variances.sqrt()
    labels = torch.arange(4000) % 10
    noise = torch.randn(4000, 1, 16, 16)
    centres = data.means[labels]
    found = with_covariance(data.means, centres + data.spread(noise, factors), centres)
    assert found.directions.shape == (DIRECTIONS, 1, 16, 16)
    rest = float(data.variances[-1])
    assert found.variances[:2].tolist() == pytest.approx(sorted(data.variances[:-1].tolist(), reverse=True), rel=0.1)
    assert found.variances[2:].tolist() == pytest.approx([rest] * (DIRECTIONS - 1), rel=0.7), "and noise of samples"
    assert float(found.variances[-1]) == pytest.approx(rest, rel=0.1)
    few = with_covariance(data.means, noise[:5], centres[:5])
    assert few.directions.shape == (4, 1, 16, 16)
    assert few.directions.isfinite().all()


def test_they_are_kept_with_the_weights(model: FlexDiT, tmp_path: Path) -> None:
    def known(one: FlexDiT) -> dict[str, torch.Tensor]:
        assert one.data_gaussian is not None
        return one.data_gaussian.tensors

    def same(one: FlexDiT, other: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(value, other[name]) for name, value in known(one).items())

    weights = {name: value.clone() for name, value in model.state_dict().items()}
    assert not [name for name in weights if name.startswith("data_")]
    data = some_data()
    model.set_data_gaussian(data)
    assert same(model.clone(), data.tensors)
    model.save_pretrained(tmp_path)
    read = FlexDiT.from_pretrained(tmp_path)
    assert same(read, data.tensors)
    read.load_state_dict(weights)
    assert same(read, data.tensors), "weights of another training leave them"
    fresh = model.clone()
    for name in data.tensors:
        setattr(fresh, name, None)
    fresh.load_state_dict(model.state_dict())
    assert same(fresh, data.tensors)
    fresh.load_state_dict(weights | {"data_means": data.means})
    assert same(fresh, DataGaussian.of_means(data.means).tensors), "as in folders of earlier versions"


def test_a_model_that_does_not_know_its_data_says_so(model: FlexDiT) -> None:
    flow, noise = SCHEDULERS[0], torch.randn(2, 1, 16, 16)
    with pytest.raises(UserError, match="start: is mean, but this model comes without the data's means"):
        drawn(model, flow, Sampling(steps=3, start="mean"), noise=noise)
    model.set_data_gaussian(DataGaussian.zeros(model.shape))
    assert drawn(model, flow, Sampling(steps=3, start="mean"), noise=noise).isfinite().all()
    cached = Sampling(steps=6, start="mean", cache=Cache(pattern="FFpnF"))
    assert drawn(model, flow, cached, noise=noise).isfinite().all()
    with pytest.raises(UserError, match="start: is gaussian, but this model comes without the data's covariance"):
        drawn(model, flow, Sampling(steps=3, start="gaussian"), noise=noise)
