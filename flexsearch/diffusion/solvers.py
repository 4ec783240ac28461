"""The solver of a plan: diffusers' scheduler, given the plan's own times, its signatures met in one place."""

import inspect
from typing import Any

import torch
from torch import Tensor

from flexsearch.errors import FlexsearchError
from flexsearch.schedule.clock import Clock, Spacing
from flexsearch.schedule.plan import Plan
from flexsearch.schedule.timetable import CLOCK_ERROR


def clock_of(scheduler: Any, *, spacing: Spacing = "pipeline") -> Clock:
    """Read the clock of a diffusers scheduler.

    Raises:
        UserError: flexsearch does not know its spacing.
    """
    return Clock.of({**scheduler.config, "_class_name": type(scheduler).__name__}, spacing=spacing)


class Solver:
    """One run of a scheduler over a plan: the mutable state of a sampling loop.

    Args:
        scheduler: a diffusers scheduler; only its configuration is used.
        plan: whose times are visited.
        seed: of the noise that a stochastic scheduler adds.
        device: of the samples.

    Raises:
        FlexsearchError: the scheduler would visit other times than the plan says.
    """

    def __init__(self, scheduler: Any, plan: Plan, *, seed: int, device: torch.device) -> None:
        clock, num = plan.target.clock, len(plan.steps)
        self._scheduler = type(scheduler).from_config(scheduler.config)
        mu = clock.mu(plan.target.shape.grid.num_tokens)
        options: dict[str, Any] = {"sigmas": clock.sigmas(num)} if clock.takes_sigmas else {"num_inference_steps": num}
        self._scheduler.set_timesteps(**options, **({} if mu is None else {"mu": mu}))
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(0)
        self._timesteps = self._scheduler.timesteps
        visited = [float(timestep) / clock.num_train_timesteps for timestep in self._timesteps]
        planned = [step.time for step in plan.steps]
        if len(visited) != num or max(abs(a - b) for a, b in zip(visited, planned, strict=True)) > CLOCK_ERROR:
            raise FlexsearchError(f"{type(scheduler).__name__} visits {visited}, but the plan says {planned}")
        self._on_device = self._timesteps.to(device, non_blocking=True)
        takes = inspect.signature(self._scheduler.step).parameters
        self._extra = {"generator": torch.Generator(device).manual_seed(seed)} if "generator" in takes else {}

    @property
    def reads_variance(self) -> bool:
        """Whether the scheduler uses a learned variance."""
        return getattr(self._scheduler.config, "variance_type", None) in ("learned", "learned_range")

    def scaled(self, sample: Tensor, index: int) -> Tensor:
        """Give the sample as the model reads it at step `index`."""
        if not hasattr(self._scheduler, "scale_model_input"):
            return sample
        scaled: Tensor = self._scheduler.scale_model_input(sample, self._timesteps[index])
        return scaled

    def timestep(self, index: int) -> Tensor:
        """Give the timestep that the model reads at step `index`, a scalar on the samples' device."""
        timestep: Tensor = self._on_device[index]
        return timestep

    def step(self, output: Tensor, index: int, sample: Tensor) -> Tensor:
        """Take step `index` from `sample` by the model's output."""
        taken: Tensor = self._scheduler.step(output, self._timesteps[index], sample, **self._extra).prev_sample
        return taken
