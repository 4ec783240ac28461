"""The solver of a plan: its mutable state over the steps. What a scheduler takes and returns is met here alone.

`flexsearch.schedule.solver` names the solvers. Adams-Bashforth and Heun integrate dx/ds = f: for flow matching x is the
sample, s its sigma and f the velocity; for noise prediction x is the sample over alpha, s is sigma over alpha and f the
noise, as in DDIM's equation (14) (arXiv 2010.02502).
"""

import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import diffusers
import numpy as np
import torch
from torch import Tensor

from flexsearch.errors import UserError, reading, shown
from flexsearch.schedule.clock import Clock, Spacing
from flexsearch.schedule.plan import Plan
from flexsearch.schedule.solver import clock_under
from flexsearch.schedule.timetable import CLOCK_ERROR


def clock_of(scheduler: Any, *, spacing: Spacing = "pipeline") -> Clock:
    """Read the clock of a diffusers scheduler.

    Raises:
        UserError: flexsearch does not know its spacing.
    """
    return Clock.of({**scheduler.config, "_class_name": type(scheduler).__name__}, spacing=spacing)


class Solver(Protocol):
    """One run over the steps of a plan.

    Attributes:
        reads_variance: whether it uses a learned variance.
    """

    reads_variance: bool

    def scaled(self, sample: Tensor, index: int) -> Tensor:
        """Give the sample as the model reads it at step `index`."""

    def timestep(self, index: int) -> Tensor:
        """Give the timestep that the model reads at step `index`, a scalar on the samples' device."""

    def step(self, output: Tensor, index: int, sample: Tensor) -> Tensor:
        """Take step `index` from `sample` by the model's output."""


def solver_of(scheduler: Any, plan: Plan, *, seed: int, device: torch.device) -> Solver:
    """Begin a run of a plan's solver.

    Args:
        scheduler: the base's diffusers scheduler; only its configuration is used.
        plan: whose times are visited.
        seed: of the noise that a stochastic scheduler adds.
        device: of the samples.

    Raises:
        UserError: the scheduler would visit other times than the plan says, or times that do not fall.
    """
    match plan.candidate.sampling.solver:
        case "ab2":
            return AdamsBashforth(scheduler, plan, device=device)
        case "heun":
            return Heun(scheduler, plan, device=device)
        case _:
            return DiffusersSolver(scheduler, plan, seed=seed, device=device)


def check_solver(scheduler: Any, plan: Plan) -> None:
    """Walk one small sample over a plan, as a library that accepts a configuration may fail at any step.

    Raises:
        UserError: a step fails, or its result is not finite.
    """
    solver = solver_of(scheduler, plan, seed=0, device=torch.device("cpu"))
    rule = f"cannot take {plan.candidate.sampling.steps} steps of {plan.candidate.sampling.solver}"
    sample = torch.full((1, 4, 1, 1), 0.5)
    with reading("base scheduler", rule=rule):
        for index in range(len(plan.steps)):
            output = solver.scaled(sample, index)
            if solver.reads_variance and plan.target.shape.out_channels > plan.target.shape.in_channels:
                output = torch.cat([output, -output], dim=1)  # what a base gives for a variance has any sign
            sample = solver.step(output, index, sample)
        if not torch.isfinite(sample).all():
            raise UserError(f"{rule}: the samples are not finite")


def _check_falling(times: Sequence[float]) -> None:
    if not np.isfinite(times).all() or any(before <= after for before, after in pairwise(times)):
        raise UserError(f"must fall from noise to data, but visits {shown(times)}", field="base scheduler")


class DiffusersSolver:
    """A scheduler of diffusers, given the plan's own times; arguments as `solver_of`."""

    def __init__(self, scheduler: Any, plan: Plan, *, seed: int, device: torch.device) -> None:
        sampling, num_tokens = plan.candidate.sampling, plan.target.shape.grid.num_tokens
        clock, num = (
            clock_under(sampling.solver, plan.target.clock, shift=sampling.shift, num_tokens=num_tokens),
            sampling.steps,
        )
        with reading("base scheduler", rule=f"cannot be sampled with {sampling.solver}"):
            self._scheduler = _new_scheduler(scheduler, clock, plan)
        mu = clock.mu(num_tokens)
        options: dict[str, Any] = {"num_inference_steps": num}
        if clock.takes_sigmas:
            options = {"sigmas": np.array(clock.sigmas(num))}
        with reading("base scheduler", rule=f"cannot make {num} steps"):
            self._scheduler.set_timesteps(**options, **({} if mu is None else {"mu": mu}))
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(0)
        self._timesteps = self._scheduler.timesteps
        visited = [float(timestep) / clock.num_train_timesteps for timestep in self._timesteps]
        planned = [step.time for step in plan.steps]
        if len(visited) != len(planned) or max(abs(a - b) for a, b in zip(visited, planned, strict=True)) > CLOCK_ERROR:
            raise UserError(
                f"{type(self._scheduler).__name__} visits {shown(visited)}, but the plan says {shown(planned)}",
                field="base scheduler",
            )
        _check_falling(visited)
        self._on_device = self._timesteps.to(device, non_blocking=True)
        takes = inspect.signature(self._scheduler.step).parameters
        self._extra = {"generator": torch.Generator(device).manual_seed(seed)} if "generator" in takes else {}
        variance = getattr(self._scheduler.config, "variance_type", None)  # others carry it, and do not read it
        self.reads_variance = clock.scheduler == "DDPMScheduler" and variance in ("learned", "learned_range")

    def scaled(self, sample: Tensor, index: int) -> Tensor:
        """Give the sample as the model reads it."""
        if not hasattr(self._scheduler, "scale_model_input"):
            return sample
        scaled: Tensor = self._scheduler.scale_model_input(sample, self._timesteps[index])
        return scaled

    def timestep(self, index: int) -> Tensor:
        """Give the scheduler's timestep."""
        timestep: Tensor = self._on_device[index]
        return timestep

    def step(self, output: Tensor, index: int, sample: Tensor) -> Tensor:
        """Take the scheduler's step."""
        taken: Tensor = self._scheduler.step(output, self._timesteps[index], sample, **self._extra).prev_sample
        return taken


def diffusers_scheduler(scheduler: Any, plan: Plan) -> Any | None:
    """Give the scheduler of diffusers that takes a plan's steps, given their number; None for solvers of our own."""
    sampling, num_tokens = plan.candidate.sampling, plan.target.shape.grid.num_tokens
    if sampling.solver in ("ab2", "heun"):
        return None
    clock = clock_under(sampling.solver, plan.target.clock, shift=sampling.shift, num_tokens=num_tokens)
    return _new_scheduler(scheduler, clock, plan)


def _new_scheduler(scheduler: Any, clock: Clock, plan: Plan) -> Any:
    """The base's scheduler afresh, or diffusers' class of the clock, of second order, with the base's noise."""
    if plan.candidate.sampling.solver == "base":
        key = "shift" if clock.scheduler == "FlowMatchEulerDiscreteScheduler" else "flow_shift"
        is_moved = clock != plan.target.clock
        moved: dict[str, Any] = {key: clock.shift, "use_dynamic_shifting": False} if is_moved else {}
        if clock.scheduler in ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler"):
            moved["variance_type"] = None  # they would take three channels for all
        return type(scheduler).from_config(scheduler.config, **moved)
    kind = getattr(diffusers, clock.scheduler)
    own: dict[str, Any] = {"solver_order": 2, "lower_order_final": True}
    if clock.scheduler == "DPMSolverMultistepScheduler":
        own |= {"algorithm_type": "dpmsolver++", "variance_type": None}
    if clock.is_flow:
        total = clock.num_train_timesteps
        flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": clock.shift}
        return kind(num_train_timesteps=total, **flow, **own)
    # what a configuration leaves at its own class's defaults would be lost
    spacing = {"timestep_spacing": clock.timestep_spacing, "steps_offset": clock.steps_offset}
    return kind.from_config(scheduler.config, **spacing, **own)


class _Ode:
    """What Adams-Bashforth and Heun share: x, s and f of every step, as numbers that the host knows beforehand."""

    reads_variance = False
    calls = 1
    """Of the model, for a step after the first."""

    def __init__(self, scheduler: Any, plan: Plan, *, device: torch.device) -> None:
        clock = plan.target.clock
        times = [step.time for step in plan.steps]
        _check_falling(times[:1] + times[1 :: self.calls])
        timesteps = [time * clock.num_train_timesteps for time in times]
        self._prediction = "flow" if clock.is_flow else str(scheduler.config.get("prediction_type", "epsilon"))
        if clock.is_flow:
            self._alphas = [1.0] * (len(timesteps) + 1)
            self._s = [*(step.time for step in plan.steps), 0.0]
        else:
            timesteps = [round(timestep) for timestep in timesteps]
            last = float(getattr(scheduler, "final_alpha_cumprod", 1.0))
            with reading("base scheduler"):  # which may list other noise levels than it has timesteps
                products = [*(float(scheduler.alphas_cumprod[timestep]) for timestep in timesteps), last]
            if not min(products) > 0:
                raise UserError(
                    "must leave something of the data at every step, as x over alpha has no value else",
                    field="base scheduler.rescale_betas_zero_snr",
                    nearest="solver dpmsolver++",
                )
            self._alphas = [product**0.5 for product in products]
            self._s = [((1 - product) / product) ** 0.5 for product in products]
        self._timesteps = torch.tensor(timesteps).to(device, non_blocking=True)

    def scaled(self, sample: Tensor, index: int) -> Tensor:
        """Give the sample as it is."""
        return sample

    def timestep(self, index: int) -> Tensor:
        """Give the base's timestep."""
        return self._timesteps[index]

    def _f(self, output: Tensor, index: int, sample: Tensor) -> Tensor:
        alpha, sigma = self._alphas[index], self._s[index] * self._alphas[index]
        match self._prediction:
            case "v_prediction":
                return alpha * output + sigma * sample
            case "sample":
                return (sample - alpha * output) / sigma
            case _:
                return output

    def _moved(self, sample: Tensor, f: Tensor, index: int, *, to: int) -> Tensor:
        """Follow f from the s of one step to that of another."""
        x = sample / self._alphas[index] + (self._s[to] - self._s[index]) * f
        return x * self._alphas[to]


class AdamsBashforth(_Ode):
    """Second order with variable steps, from one model call each; the first step is Euler's.

    `x' = x + h ((1 + h / 2 g) f - h / 2 g f_before)`, with h this step in s and g the one before.
    """

    def __init__(self, scheduler: Any, plan: Plan, *, device: torch.device) -> None:
        super().__init__(scheduler, plan, device=device)
        self._before: Tensor | None = None

    def step(self, output: Tensor, index: int, sample: Tensor) -> Tensor:
        """Take a step."""
        f = self._f(output, index, sample)
        slope = f
        if self._before is not None:
            ratio = (self._s[index + 1] - self._s[index]) / (2 * (self._s[index] - self._s[index - 1]))
            slope = (1 + ratio) * f - ratio * self._before
        self._before = f
        return self._moved(sample, slope, index, to=index + 1)


class Heun(_Ode):
    """Second order by two model calls, at both ends of a step; the last step, to the data, is Euler's."""

    calls = 2

    def __init__(self, scheduler: Any, plan: Plan, *, device: torch.device) -> None:
        super().__init__(scheduler, plan, device=device)
        self._begun: tuple[Tensor, Tensor] | None = None

    def step(self, output: Tensor, index: int, sample: Tensor) -> Tensor:
        """Go to the end of a step, or, there already, take it again by the mean of both ends."""
        f = self._f(output, index, sample)
        if self._begun is None:
            self._begun = (sample, f)
            return self._moved(sample, f, index, to=index + 1)
        (start, first), self._begun = self._begun, None
        return self._moved(start, (first + f) / 2, index - 1, to=index)
