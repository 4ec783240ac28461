"""Reuse, guidance rows and solvers in the sampling loop, where the answer is known."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from flexsearch.data.conditions import ClassConditions
from flexsearch.diffusion.calibration import reuse_costs
from flexsearch.diffusion.sampling import denoise, generate, initial_noise, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.diffusion.solvers import solver_of
from flexsearch.errors import UserError
from flexsearch.models.data_gaussian import DataGaussian
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule import Cache, DensitySchedule, Gain, GuidanceRows, Sampling, Sdtm, Timetable
from flexsearch.schedule.masks import mask_cost
from flexsearch.schedule.timetable import equal_edges

CLASSES = ClassConditions(num_classes=10)
EULER = FlowMatchEulerDiscreteScheduler()
DDIM = DDIMScheduler(timestep_spacing="trailing", clip_sample=False)
SOLVERS = ("base", "ab2", "heun", "dpmsolver++", "unipc", "deis")
EVERYTHING = Sampling(
    steps=8,
    solver="ab2",
    cache=Cache(pattern="FFpFpnFp", first=1),
    guidance=GuidanceRows(start=0.1, end=0.9, every=2),
    gain=Gain(stream=0.9, at=2, skip=0.9),
)


def drawn(model: FlexDiT, sampling: Sampling, *, scheduler: Any = EULER, batch: int = 6, **settings: Any) -> Tensor:
    chosen = SamplingSettings(**settings)
    batches = generate(
        model,
        scheduler,
        plan_of(model, scheduler, sampling, chosen),
        conditions=CLASSES,
        num_images=6,
        batch=batch,
        seed=0,
        settings=chosen,
    )
    return torch.cat(list(batches))


@pytest.fixture
def model(tiny_model: FlexDiT) -> FlexDiT:
    """Six blocks in two stages: P M s R D D without the pooling."""
    timetable = Timetable(edges=equal_edges(2), grids=(5, 3))
    tiny_model.set_schedule(DensitySchedule(segments=(Sdtm(sparse=1, dense=3),), timetable=timetable))
    return tiny_model.eval()


class Answers(torch.nn.Module):
    """Stands for a model: answers what a function of the diffusion time says, and counts its calls."""

    def __init__(self, answer: Callable[[float, int], float]) -> None:
        super().__init__()
        self.answer, self.calls = answer, 0

    def forward(self, noisy: Tensor, timestep: Tensor, *, class_labels: Tensor, **_: Any) -> SimpleNamespace:
        self.calls += 1
        rows = [self.answer(float(timestep[0]) / 1000, int(label)) for label in class_labels]
        return SimpleNamespace(sample=torch.tensor(rows)[:, None, None, None].expand_as(noisy), left=())


def arrived(answer: Callable[[float, int], float], model: FlexDiT, sampling: Sampling, **settings: Any) -> Tensor:
    """Where zeros go under an answer."""
    chosen, scheduler = SamplingSettings(**settings), FlowMatchEulerDiscreteScheduler()
    fake: Any = Answers(answer)
    return denoise(
        fake,
        scheduler,
        plan_of(model, scheduler, sampling, chosen),
        noise=torch.zeros(2, 1, 16, 16),
        condition={"class_labels": torch.tensor([3, 3])},
        none=CLASSES.none(2),
        settings=chosen,
    )


@pytest.mark.parametrize("scheduler", [EULER, DDIM], ids=["flow", "noise"])
def test_null_steps_of_order_0_are_longer_steps(model: FlexDiT, scheduler: Any) -> None:
    """Euler and DDIM follow one output in a straight line, however many steps that takes."""
    null = drawn(model, Sampling(steps=8, cache=Cache(pattern="FnFnFnFn", order=0)), scheduler=scheduler)
    coarse = drawn(model, Sampling(steps=4), scheduler=scheduler)
    if scheduler is EULER:
        torch.testing.assert_close(null, coarse, rtol=1e-5, atol=1e-5)
    else:  # trailing timesteps of 8 and 4 steps: 999, 874, 749 ... and 999, 749 ...
        torch.testing.assert_close(null, coarse, rtol=1e-4, atol=1e-4)


def test_null_steps_of_order_1_follow_a_line_exactly(model: FlexDiT) -> None:
    def line(time: float, _: int) -> float:
        return 2.0 - 3.0 * time

    full = arrived(line, model, Sampling(steps=6))
    torch.testing.assert_close(arrived(line, model, Sampling(steps=6, cache=Cache(pattern="FFnFnn"))), full)
    bent = arrived(line, model, Sampling(steps=6, cache=Cache(pattern="FFnFnn", order=0)))
    assert not torch.allclose(bent, full, atol=1e-2)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_an_image_does_not_depend_on_its_batch(model: FlexDiT, guidance: float) -> None:
    whole = drawn(model, EVERYTHING, guidance=guidance)
    torch.testing.assert_close(drawn(model, EVERYTHING, batch=4, guidance=guidance), whole, rtol=1e-4, atol=1e-4)


def test_a_constant_difference_of_rows_may_be_reused(model: FlexDiT) -> None:
    def shifted(time: float, label: int) -> float:
        return time + (0.5 if label == 10 else 0.0)

    both = arrived(shifted, model, Sampling(steps=6), guidance=3.0)
    third = arrived(shifted, model, Sampling(steps=6, guidance=GuidanceRows(every=3)), guidance=3.0)
    torch.testing.assert_close(third, both)
    never = arrived(shifted, model, Sampling(steps=6, guidance=GuidanceRows(end=0.0)), guidance=3.0)
    torch.testing.assert_close(never, arrived(shifted, model, Sampling(steps=6)))


def test_defaults_of_every_axis_change_no_bit(model: FlexDiT) -> None:
    whole = Sampling(steps=5, cache=Cache(first=2, order=0), guidance=GuidanceRows(every=1), gain=Gain(at=3))
    assert torch.equal(drawn(model, whole, guidance=2.0), drawn(model, Sampling(steps=5), guidance=2.0))


def test_a_partial_step_is_close_to_a_full_one(model: FlexDiT) -> None:
    full = drawn(model, Sampling(steps=40))
    error = {
        order: float((drawn(model, Sampling(steps=40, cache=Cache(full=0.5, order=order))) - full).norm())
        for order in (0, 1)
    }
    assert 0 < error[1] < error[0] < 0.1 * float(full.norm())


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "scheduler",
    [
        FlowMatchEulerDiscreteScheduler(),
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        DDIMScheduler(),
        DDIMScheduler(timestep_spacing="trailing", prediction_type="v_prediction"),
        DDPMScheduler(timestep_spacing="linspace"),
        DPMSolverMultistepScheduler(),
        DPMSolverMultistepScheduler(timestep_spacing="leading", steps_offset=1),
    ],
    ids=["flow", "shifted", "dynamic", "ddim", "trailing v", "ddpm", "dpm", "leading"],
)
def test_every_solver_takes_its_steps_at_the_plans_times(tiny_model: FlexDiT, scheduler: Any, solver: Any) -> None:
    """A scheduler that would visit other times is refused, so drawing is the test; its samples are finite."""
    if solver == "deis" and isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        with pytest.raises(UserError, match="deis is for noise prediction"):
            plan_of(tiny_model, scheduler, Sampling(steps=4, solver=solver), SamplingSettings())
        return
    for steps in (1, 2, 5, 12):
        found = drawn(tiny_model, Sampling(steps=steps, solver=solver), scheduler=scheduler)
        assert found.isfinite().all()
        plan = plan_of(tiny_model, scheduler, Sampling(steps=steps, solver=solver), SamplingSettings())
        assert len(plan.steps) == (2 * steps - 1 if solver == "heun" else steps)


def test_adams_bashforth_begins_with_euler(tiny_model: FlexDiT) -> None:
    one = drawn(tiny_model, Sampling(steps=1, solver="ab2"))
    torch.testing.assert_close(one, drawn(tiny_model, Sampling(steps=1)), rtol=1e-5, atol=1e-5)
    first = drawn(tiny_model, Sampling(steps=1, solver="ab2"), scheduler=DDIM)
    torch.testing.assert_close(first, drawn(tiny_model, Sampling(steps=1), scheduler=DDIM), rtol=1e-4, atol=1e-4)


def test_a_solver_keeps_a_learned_variance_out(tiny_model: FlexDiT) -> None:
    scheduler = DDPMScheduler(variance_type="learned_range")
    for solver, expected in (("base", True), ("ab2", False), ("dpmsolver++", False)):
        plan = plan_of(tiny_model, scheduler, Sampling(steps=3, solver=solver), SamplingSettings())  # type: ignore[arg-type]
        assert solver_of(scheduler, plan, seed=0, device=torch.device("cpu")).reads_variance is expected


class NoGenerator:
    """Stands for `torch.Generator`, which knows no meta device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def manual_seed(self, seed: int) -> None:
        assert seed >= 0


@pytest.mark.parametrize("reuse", ["span", "modules"])
@pytest.mark.parametrize("solver", ["ab2", "heun", "unipc"])
def test_the_loop_never_waits_for_the_device(
    model: FlexDiT, solver: Any, reuse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meta tensors have no values: whatever would read one back to the host raises."""
    monkeypatch.setattr(torch, "Generator", NoGenerator)
    on_meta = {name: value.to("meta") for name, value in CLASSES.of_samples(range(2)).items()}
    settings = SamplingSettings(guidance=2.0)
    steps = 9 if solver != "heun" else 5
    sampling = Sampling(
        steps=steps,
        solver=solver,
        cache=Cache(full=0.5, nulls=0.5, warmup=2, reuse=reuse),
        guidance=GuidanceRows(every=2),
        gain=Gain(stream=0.9, at=1, skip=0.9),
        start="gaussian",
    )
    plan = plan_of(model, EULER, sampling, settings)
    assert {step.letter for step in plan.steps} >= {"F", "n", "g"}
    model.set_data_gaussian(DataGaussian.zeros(model.shape, num_directions=2))
    found = denoise(
        model.to("meta"),
        EULER,
        plan,
        noise=torch.empty(2, 1, 16, 16, device="meta"),
        condition=on_meta,
        none=on_meta,
        settings=settings,
    )
    assert found.shape == (2, 1, 16, 16)


def test_the_planned_cost_of_one_reuse_is_its_error(model: FlexDiT) -> None:
    """Reusing the residual of step 1 at step 2 errs by what calibration says, in the model's own residual."""
    plan = plan_of(model, EULER, Sampling(steps=5), SamplingSettings())
    costs = {
        order: reuse_costs(
            model, EULER, plan, order=order, conditions=CLASSES, num_images=4, seed=0, settings=SamplingSettings()
        )
        for order in (0, 1)
    }
    noise, labels = initial_noise(range(4), shape=model.shape.sample_size, seed=0), CLASSES.of_samples(range(4))
    sample, residuals = noise, []
    with torch.inference_mode():
        for step in plan.steps:
            time = torch.full((4,), 1000 * step.time)
            tokens = model._parts.embed(sample)
            with patch.object(model._parts, "head", wraps=model._parts.head) as head:
                sample = sample - 0.2 * model(sample, time, graph=step.graph, **labels).sample
            residuals.append(head.call_args.args[0] - tokens)
    error = float((residuals[1] - residuals[2]).square().mean()) * 0.2**2
    assert mask_cost("FFpFF", costs[0]) == pytest.approx(error, rel=1e-3)
    guess = 2 * residuals[1] - residuals[0]
    assert mask_cost("FFpFF", costs[1]) == pytest.approx(
        float((guess - residuals[2]).square().mean()) * 0.2**2, rel=1e-3
    )
