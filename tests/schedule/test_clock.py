"""The clock of a sampler against diffusers' schedulers, called as diffusers' pipelines call them."""

import math
from typing import Any

import diffusers
import pytest

from flexsearch.errors import UserError
from flexsearch.schedule.clock import Clock, shifted_time, unshifted_time
from flexsearch.schedule.solver import clock_under
from flexsearch.schedule.timetable import CLOCK_ERROR

NUM_TOKENS = 1024
STEPS = (*range(1, 60), 100, 250)


def clock_of(scheduler: Any, **options: Any) -> Clock:
    return Clock.of({**scheduler.config, "_class_name": type(scheduler).__name__}, **options)


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler"])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize(("offset", "total"), [(0, 1000), (1, 1000), (0, 500)])
def test_timesteps_of_noise_prediction_are_diffusers_own(name: str, spacing: str, offset: int, total: int) -> None:
    scheduler = getattr(diffusers, name)(num_train_timesteps=total, timestep_spacing=spacing, steps_offset=offset)
    clock = clock_of(scheduler)
    for steps in STEPS:
        scheduler.set_timesteps(steps)
        assert clock.times(steps, num_tokens=NUM_TOKENS) == tuple(int(t) / total for t in scheduler.timesteps), steps


@pytest.mark.parametrize(
    "options", [{}, {"shift": 3.0}, {"shift": 3.0, "shift_terminal": 0.02}, {"num_train_timesteps": 500}]
)
@pytest.mark.parametrize(
    "dynamic", [{}, {"use_dynamic_shifting": True}, {"use_dynamic_shifting": True, "time_shift_type": "linear"}]
)
def test_sigmas_of_flow_matching_are_those_of_diffusers_pipelines(options: dict, dynamic: dict) -> None:
    """`sigmas = linspace(1, 1 / n, n)`, and `mu` by the number of tokens, as in FluxPipeline."""
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**options, **dynamic)
    clock, total = clock_of(scheduler), scheduler.config.num_train_timesteps
    mu = {"mu": calculate_shift(NUM_TOKENS)} if dynamic else {}
    assert clock.mu(NUM_TOKENS) == (pytest.approx(mu["mu"]) if dynamic else None)
    for steps in (2, 3, 5, 10, 28):
        scheduler.set_timesteps(sigmas=[1 - step / steps for step in range(steps)], **mu)
        visited = [float(timestep) / total for timestep in scheduler.timesteps]
        assert clock.times(steps, num_tokens=NUM_TOKENS) == pytest.approx(visited, abs=CLOCK_ERROR)


def test_every_step_of_flow_matching_has_its_share_of_the_way() -> None:
    """The spacing that a scheduler makes by itself leaves a thousandth of the way to the last step."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    assert clock_of(scheduler).times(4, num_tokens=64) == (1.0, 0.75, 0.5, 0.25)
    alone = clock_of(scheduler, spacing="scheduler")
    for steps in (1, 4, 10):
        scheduler.set_timesteps(steps)
        visited = [float(timestep) / 1000 for timestep in scheduler.timesteps]
        assert alone.times(steps, num_tokens=64) == pytest.approx(visited, abs=CLOCK_ERROR)
    assert alone.times(4, num_tokens=64)[-1] == pytest.approx(0.001)
    assert (clock_of(scheduler).protocol, alone.protocol) == ({"spacing": "pipeline"}, {"spacing": "scheduler"})


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_sigmas_under_a_solver_of_noise_prediction(shift: float) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        use_flow_sigmas=True, flow_shift=shift, prediction_type="flow_prediction"
    )
    for steps in STEPS:
        scheduler.set_timesteps(steps)
        visited = tuple(int(timestep) / 1000 for timestep in scheduler.timesteps)
        assert clock_of(scheduler).times(steps, num_tokens=64) == visited


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
def test_unipc_of_a_base_visits_what_its_pipeline_visits(shift: float) -> None:
    """WanPipeline gives UniPC a number of steps alone; as a solver of other bases it is given sigmas."""
    options = {"use_flow_sigmas": True, "flow_shift": shift, "prediction_type": "flow_prediction"}
    scheduler = diffusers.UniPCMultistepScheduler(**options)
    clock = clock_of(scheduler)
    for steps in STEPS:
        scheduler.set_timesteps(steps)
        visited = tuple(int(timestep) / 1000 for timestep in scheduler.timesteps)
        assert clock.times(steps, num_tokens=64) == visited, steps
    assert not clock.takes_sigmas
    assert clock_under("unipc", clock, shift=1.0, num_tokens=64).takes_sigmas


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_shifting_has_an_inverse(shift: float) -> None:
    for time in (0.0, 0.1, 0.5, 1.0):
        assert unshifted_time(shifted_time(time, shift), shift) == pytest.approx(time)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"_class_name": "HeunDiscreteScheduler"},
            r"base scheduler: must be one of .* but got 'HeunDiscreteScheduler'",
        ),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_karras_sigmas": True},
            r"base scheduler\.use_karras_sigmas: must be off",
        ),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -5.1},
            r"lambda_min_clipped: must be -inf, but got -5\.1",
        ),
        ({"_class_name": "UniPCMultistepScheduler"}, r"base scheduler\.use_flow_sigmas: must be on"),
        (
            {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True, "use_dynamic_shifting": True},
            r"base scheduler\.use_dynamic_shifting: must be off under UniPC",
        ),
    ],
)
def test_unknown_spacings_are_refused(config: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Clock.of(config)
    assert Clock.of({"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -math.inf}).shift == 1.0


FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
MULTISTEP = {"_class_name": "DPMSolverMultistepScheduler"}
DDIM = {"_class_name": "DDIMScheduler"}


@pytest.mark.parametrize(
    ("config", "option"),
    [
        *(({**FLOW, "shift": shift}, "shift") for shift in (0, -1.0, 1e-9, 1e9, True, None, math.nan)),
        ({**MULTISTEP, "use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 0}, "flow_shift"),
        *(({**FLOW, "shift_terminal": last}, "shift_terminal") for last in (1, 2.0, -0.1)),
        ({**FLOW, "use_dynamic_shifting": "false"}, "use_dynamic_shifting"),
        ({**FLOW, "base_image_seq_len": 256, "max_image_seq_len": 256}, "base_image_seq_len"),
        ({**FLOW, "time_shift_type": None}, "time_shift_type"),
        ({**FLOW, "num_train_timesteps": True}, "num_train_timesteps"),
        *(({**DDIM, "steps_offset": offset}, "steps_offset") for offset in (-1, 0.5, 1000, None)),
        *(({**DDIM, "timestep_spacing": spacing}, "timestep_spacing") for spacing in (None, ["leading"])),
        *(({**DDIM, "prediction_type": kind}, "prediction_type") for kind in ("nonsense", None, 3, "flow_prediction")),
        ({**MULTISTEP, "use_flow_sigmas": True}, "prediction_type"),
        *(({**DDIM, "beta_start": beta}, "beta_start") for beta in (0, -0.1, True)),
        ({**DDIM, "beta_end": 1}, "beta_end"),
        ({**DDIM, "trained_betas": [0.1] * 10}, "trained_betas"),
        ({**DDIM, "trained_betas": [math.nan] * 1000}, "trained_betas"),
        *(({**MULTISTEP, "lambda_min_clipped": least}, "lambda_min_clipped") for least in ("x", None, [1])),
    ],
    ids=lambda value: str(value)[-40:] if isinstance(value, dict) else None,
)
def test_values_that_no_sampler_has_are_refused(config: dict, option: str) -> None:
    with pytest.raises(UserError, match=rf"^base scheduler\.{option}: must be "):
        Clock.of(config)


@pytest.mark.parametrize(
    ("shifts", "kind"), [((-50, -100), "exponential"), ((500, 1e6), "exponential"), ((-1, -1), "linear")]
)
def test_a_dynamic_shift_leaves_times_apart(shifts: tuple[float, float], kind: str) -> None:
    low, high = shifts
    clock = Clock.of(
        {**FLOW, "use_dynamic_shifting": True, "time_shift_type": kind, "base_shift": low, "max_shift": high}
    )
    with pytest.raises(
        UserError, match=r"^base scheduler\.base_shift: must shift time by 0\.001 to 1000, but at 64 tok"
    ):
        clock.times(2, num_tokens=64)


def test_an_offset_leaves_every_step_a_timestep() -> None:
    clock = Clock.of({**DDIM, "steps_offset": 1})
    assert clock.times(2, num_tokens=64) == (0.501, 0.001)
    with pytest.raises(UserError, match=r"steps_offset: must leave 1000 steps below 1000, but got 1; nearest legal: 0"):
        clock.times(1000, num_tokens=64)


def test_more_steps_than_timesteps_are_refused() -> None:
    with pytest.raises(UserError, match="sampler_steps: must be at most 1000, but got 1001; nearest legal: 1000"):
        Clock.of({"_class_name": "DDIMScheduler"}).times(1001, num_tokens=64)
