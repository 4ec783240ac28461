"""Solvers: step by step what diffusers' own pipelines do, and of the order that theory says."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    UniPCMultistepScheduler,
)
from torch import Tensor

from flexsearch.data.conditions import ClassConditions
from flexsearch.diffusion.sampling import denoise
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.diffusion.solvers import Solver, check_solver, clock_of, solver_of
from flexsearch.errors import FlexsearchError, UserError
from flexsearch.schedule import Candidate, DensitySchedule, Plan, Sampling, Target, lower
from flexsearch.schedule.presets import dit_shape
from flexsearch.schedule.solver import SolverName

CLASSES = ClassConditions(num_classes=10)


def plan_at(scheduler: Any, steps: int, *, side: int = 8, solver: SolverName = "base", **options: Any) -> Plan:
    """A dense plan on side x side tokens."""
    target = Target(shape=dit_shape(num_blocks=2, width=16, side=side), clock=clock_of(scheduler, **options))
    sampling = Sampling(steps=steps, solver=solver)
    return lower(Candidate(schedule=DensitySchedule.all_dense(2), sampling=sampling), target)


Recorded = list[tuple[Tensor, Tensor, Tensor, Tensor]]


def recorded_steps(scheduler: Any) -> Recorded:
    """Notes (output, timestep, sample, next sample) of every step that a pipeline takes from now on."""
    steps: Recorded = []
    step, generator = scheduler.step, torch.Generator().manual_seed(0)

    def spy(output: Tensor, timestep: Any, sample: Tensor, **options: Any) -> Any:
        if isinstance(scheduler, DDPMScheduler):  # DiTPipeline leaves its noise to torch's own generator
            options["generator"] = generator
        as_tuple = step(output, timestep, sample, **{**options, "return_dict": False})
        steps.append((output.clone(), torch.as_tensor(timestep), sample.clone(), as_tuple[0].clone()))
        return as_tuple if options.get("return_dict") is False else SimpleNamespace(prev_sample=as_tuple[0])

    scheduler.step = spy
    return steps


def replayed(solver: Solver, steps: Recorded) -> None:
    """The solver visits the same timesteps and goes to the same samples, to the bit."""
    for index, (output, timestep, sample, after) in enumerate(steps):
        assert float(solver.timestep(index)) == float(timestep)
        assert torch.equal(solver.step(output, index, sample), after), index


@pytest.mark.parametrize(
    "scheduler",
    [DDIMScheduler(), DDIMScheduler(timestep_spacing="trailing"), DDPMScheduler(), DPMSolverMultistepScheduler()],
    ids=lambda one: f"{type(one).__name__}-{one.config.timestep_spacing}",
)
@pytest.mark.parametrize("num", [1, 3, 7])
def test_noise_prediction_steps_as_dit_pipeline(scheduler: Any, num: int, tiny_base: DiTTransformer2DModel) -> None:
    config = {**tiny_base.config, "in_channels": 4, "out_channels": 4, "num_embeds_ada_norm": 1000}
    vae = AutoencoderKL(latent_channels=4, block_out_channels=(8,), norm_num_groups=4).eval()
    transformer = DiTTransformer2DModel.from_config(config).eval()
    pipeline = DiTPipeline(transformer=transformer, vae=vae, scheduler=type(scheduler).from_config(scheduler.config))
    pipeline.set_progress_bar_config(disable=True)
    steps = recorded_steps(pipeline.scheduler)
    pipeline([1], num_inference_steps=num, guidance_scale=1.0, output_type="np")
    assert len(steps) == num
    replayed(solver_of(scheduler, plan_at(scheduler, num), seed=0, device=torch.device("cpu")), steps)


@pytest.mark.parametrize("options", [{}, {"shift": 3.0}, {"use_dynamic_shifting": True}], ids=str)
@pytest.mark.parametrize("num", [1, 3, 7])
def test_flow_matching_steps_as_flux_pipeline(options: dict, num: int) -> None:
    transformer = FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    ).eval()
    absent = dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    scheduler = FlowMatchEulerDiscreteScheduler(**options)
    pipeline = FluxPipeline(scheduler=FlowMatchEulerDiscreteScheduler(**options), transformer=transformer, **absent)
    pipeline.set_progress_bar_config(disable=True)
    steps = recorded_steps(pipeline.scheduler)
    embeds = {"prompt_embeds": torch.randn(1, 5, 32), "pooled_prompt_embeds": torch.randn(1, 32)}
    pipeline(**embeds, height=128, width=128, num_inference_steps=num, output_type="latent")  # 8 x 8 tokens
    assert len(steps) == num
    replayed(solver_of(scheduler, plan_at(scheduler, num), seed=0, device=torch.device("cpu")), steps)


def test_a_scheduler_that_visits_other_times_than_planned_is_a_fault() -> None:
    plan, device = plan_at(FlowMatchEulerDiscreteScheduler(), 4), torch.device("cpu")
    with pytest.raises(FlexsearchError, match="visits"):
        solver_of(FlowMatchEulerDiscreteScheduler(shift=3.0), plan, seed=0, device=device)


MEAN, SD = 0.4, 0.3


class IdealForGaussian(torch.nn.Module):
    """The best possible model of data that are N(MEAN, SD^2): its output is linear in the noisy data."""

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        self.scheduler, self.is_flow = scheduler, clock_of(scheduler).is_flow

    def forward(
        self, noisy: Tensor, timestep: Tensor, *, graph: Any, reused: Any, text: Any, class_labels: Tensor
    ) -> SimpleNamespace:
        if self.is_flow:
            noise_scale = float(timestep[0]) / self.scheduler.config.num_train_timesteps
            data_scale = 1 - noise_scale
        else:
            abar = float(self.scheduler.alphas_cumprod.double()[timestep[0].long()])
            data_scale, noise_scale = math.sqrt(abar), math.sqrt(1 - abar)
        centred = (noisy - data_scale * MEAN) / (data_scale**2 * SD**2 + noise_scale**2)
        clean, noise = MEAN + data_scale * SD**2 * centred, noise_scale * centred
        return SimpleNamespace(sample=noise - clean if self.is_flow else noise, left=())


def arrived_at(scheduler: Any, steps: int, noise: Tensor, **options: Any) -> Tensor:
    found = denoise(
        IdealForGaussian(scheduler),
        scheduler,
        plan_at(scheduler, steps, **options),
        noise=noise,
        condition=CLASSES.of_samples([0]),
        none=CLASSES.none(1),
        settings=SamplingSettings(),
    )
    return found.double()


def exact(scheduler: Any, noise: Tensor, steps: int) -> Tensor:
    """Where the probability flow takes noise: it keeps its place in the distribution, in standard deviations."""
    if clock_of(scheduler).is_flow:
        return MEAN + SD * noise.double()
    abar = float(scheduler.alphas_cumprod.double()[round(1000 * plan_at(scheduler, steps).steps[0].time)])
    place = (noise.double() - math.sqrt(abar) * MEAN) / math.sqrt(abar * SD**2 + 1 - abar)
    return MEAN + SD * place


def order_of(error: Callable[[int], float], steps: tuple[int, ...]) -> float:
    """The slope of the error over the number of steps, in logarithms."""
    return -float(np.polyfit(np.log(steps), np.log([error(num) for num in steps]), 1)[0])


NOISE = torch.linspace(-2, 2, 64).reshape(1, 1, 8, 8)


TRAILING = {"timestep_spacing": "trailing"}
COSINE = {"timestep_spacing": "trailing", "beta_schedule": "squaredcos_cap_v2"}


@pytest.mark.parametrize(
    ("scheduler", "solver", "order", "steps"),
    [
        (FlowMatchEulerDiscreteScheduler(), "base", 1, (8, 16, 32, 64)),
        (FlowMatchEulerDiscreteScheduler(shift=2.0), "base", 1, (8, 16, 32, 64)),
        (DDIMScheduler(**TRAILING), "base", 1, (10, 20, 40)),
        (DPMSolverMultistepScheduler(**TRAILING, solver_order=1), "base", 1, (10, 20, 40)),
        (DPMSolverMultistepScheduler(**TRAILING, solver_order=2), "base", 2, (10, 20, 40)),
        *((FlowMatchEulerDiscreteScheduler(), solver, 2, (8, 16, 32, 64)) for solver in ("ab2", "heun")),
        *((FlowMatchEulerDiscreteScheduler(shift=2.0), solver, 2, (8, 16, 32, 64)) for solver in ("ab2", "heun")),
        (DDIMScheduler(**TRAILING), "ab2", 2, (20, 40, 80)),
        (DDIMScheduler(timestep_spacing="linspace"), "heun", 2, (10, 20, 40)),
        *((DDIMScheduler(**TRAILING), solver, 2, (10, 20, 40)) for solver in ("dpmsolver++", "unipc")),
        (DDIMScheduler(**COSINE), "deis", 2, (5, 10, 20)),  # with 40 its error falls more slowly
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "config") else str(value),
)
def test_the_error_falls_with_the_order_of_the_solver(
    scheduler: Any, solver: SolverName, order: int, steps: tuple[int, ...]
) -> None:
    def error(num: int) -> float:
        found = arrived_at(scheduler, num, NOISE, solver=solver)
        return float((found - exact(scheduler, NOISE, num)).abs().max())

    assert order_of(error, steps) == pytest.approx(order, abs=0.35)


ZERO_SNR = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
FLOW_UNIPC = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}


@pytest.mark.parametrize(
    ("scheduler", "solver", "message"),
    [
        (DPMSolverMultistepScheduler(solver_order=0), "base", r"cannot take 3 steps of base"),
        (DPMSolverMultistepScheduler(final_sigmas_type="odd"), "base", r"cannot make 3 steps"),
        (UniPCMultistepScheduler(**FLOW_UNIPC, predict_x0=False), "base", r"cannot take 3 steps of base"),
        (UniPCMultistepScheduler(**FLOW_UNIPC, lower_order_final=False), "base", r"the samples are not finite"),
        (DDPMScheduler(beta_schedule="sigmoid"), "unipc", r"cannot be sampled with unipc"),
        (FlowMatchEulerDiscreteScheduler(num_train_timesteps=2), "unipc", r"must fall from noise to data"),
        (DDPMScheduler(variance_type="learned"), "base", r"the samples are not finite"),
        (DDIMScheduler(**ZERO_SNR), "ab2", r"must leave something of the data at every step"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_a_scheduler_that_cannot_take_its_steps_is_refused(scheduler: Any, solver: SolverName, message: str) -> None:
    with pytest.raises(UserError, match=rf"^base scheduler.*: {message}"):
        check_solver(scheduler, plan_at(scheduler, 3, solver=solver))


@pytest.mark.parametrize("kind", [DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler])
@pytest.mark.parametrize("variance", [None, "learned_range"])
def test_every_solver_takes_what_a_base_with_another_scheduler_says(kind: Any, variance: str | None) -> None:
    """A learned variance is DDPM's alone, and the last step of a multistep solver is of lower order."""
    scheduler = kind.from_config(
        {"variance_type": variance, "lower_order_final": False, "timestep_spacing": "trailing"}
    )
    for solver in ("base", "dpmsolver++", "unipc", "deis", "ab2", "heun"):
        plan = plan_at(scheduler, 3, solver=solver)
        check_solver(scheduler, plan)
        reads = solver_of(scheduler, plan, seed=0, device=torch.device("cpu")).reads_variance
        assert reads == (solver == "base" and variance is not None and kind is DDPMScheduler)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10])
def test_no_step_of_euler_is_wasted(steps: int) -> None:
    """n model calls do the work of n equal steps, written out; with the spacing of earlier versions, of n - 1."""

    def euler(num: int) -> Tensor:
        sample = NOISE.double()
        for step in range(num):
            time = 1 - step / num
            centred = (sample - (1 - time) * MEAN) / ((1 - time) ** 2 * SD**2 + time**2)
            sample = sample - (time * centred - MEAN - (1 - time) * SD**2 * centred) / num
        return sample

    scheduler = FlowMatchEulerDiscreteScheduler()
    torch.testing.assert_close(arrived_at(scheduler, steps, NOISE), euler(steps), rtol=0, atol=1e-5)
    if steps > 1:
        wasted = arrived_at(scheduler, steps, NOISE, spacing="scheduler")
        torch.testing.assert_close(wasted, euler(steps - 1), rtol=0, atol=5e-3)
