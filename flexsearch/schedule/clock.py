"""The clock of a sampler: which diffusion times it visits. The one place where sigmas and timesteps are made.

Read from the configuration of a diffusers scheduler alone, without torch, so that the cost of a candidate is known
before a model is loaded. `flexsearch.diffusion.solvers` hands the same numbers to the scheduler itself. Times are
fractions: 0 is data, 1 is noise.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le

from flexsearch.errors import UserError
from flexsearch.schedule.scheduler_config import SHIFTS, check_scheduler

_MULTISTEP = ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler")

Spacing = Literal["pipeline", "scheduler"]
"""Of flow matching's sigmas: "pipeline" is `linspace(1, 1 / n, n)`, which diffusers' pipelines pass; "scheduler" is
what `set_timesteps(n)` makes by itself, down to the last training timestep, so that the last of n model calls does
nothing. The first versions of flexsearch used the latter. Under UniPC it is a linear spacing without its end, which
WanPipeline uses."""

Shift = Annotated[float, Gt(0), Le(20)]
"""Of diffusion time t, which becomes `shift t / (1 + (shift - 1) t)`: above 1 more steps lie near the noise."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Spacing of one scheduler.

    Attributes:
        scheduler: name of diffusers' class.
        num_train_timesteps: of the base: its own clock shows `time * num_train_timesteps`.
        spacing: of sigmas, see `Spacing`; without meaning for noise prediction.
        timestep_spacing: "linspace", "leading" or "trailing", of noise prediction.
        steps_offset: added to "leading" timesteps.
        shift: of flow matching: time t becomes `shift t / (1 + (shift - 1) t)`.
        is_dynamic: the shift follows from the number of tokens.
        dynamic: (tokens, mu) at two points of the line on which mu lies.
        shift_type: "exponential" has shift e^mu, "linear" has shift mu.
        shift_terminal: the last sigma, to which the others are stretched; None leaves them.
        is_flow: sigmas of flow matching, also under a scheduler that was made for noise prediction.
        is_stochastic: its steps add noise.
    """

    scheduler: str = "FlowMatchEulerDiscreteScheduler"
    num_train_timesteps: int = 1000
    spacing: Spacing = "pipeline"
    timestep_spacing: str = "linspace"
    steps_offset: int = 0
    shift: float = 1.0
    is_dynamic: bool = False
    dynamic: tuple[tuple[int, float], tuple[int, float]] = ((256, 0.5), (4096, 1.15))
    shift_type: str = "exponential"
    shift_terminal: float | None = None
    is_flow: bool = True
    is_stochastic: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any], *, spacing: Spacing = "pipeline") -> "Clock":
        """Read a scheduler's configuration; absent fields have diffusers' defaults.

        Raises:
            UserError: see `check_scheduler`.
        """
        check_scheduler(config)
        name = config["_class_name"]
        is_euler, is_unipc = name == "FlowMatchEulerDiscreteScheduler", name == "UniPCMultistepScheduler"
        return cls(
            scheduler=name,
            num_train_timesteps=config.get("num_train_timesteps", 1000),
            spacing="scheduler" if is_unipc else spacing,  # its pipelines give it a number of steps alone
            timestep_spacing=config.get(
                "timestep_spacing", "linspace" if name == "DPMSolverMultistepScheduler" else "leading"
            ),
            steps_offset=config.get("steps_offset", 0),
            shift=config.get("shift" if is_euler else "flow_shift") or 1.0,
            is_dynamic=is_euler and bool(config.get("use_dynamic_shifting")),
            dynamic=(
                (config.get("base_image_seq_len") or 256, config.get("base_shift") or 0.5),
                (config.get("max_image_seq_len") or 4096, config.get("max_shift") or 1.15),
            ),
            shift_type=config.get("time_shift_type", "exponential"),
            shift_terminal=config.get("shift_terminal") or None,
            is_flow=is_euler or bool(config.get("use_flow_sigmas")),
            is_stochastic=name == "DDPMScheduler" or "sde" in str(config.get("algorithm_type")),
        )

    @property
    def protocol(self) -> dict[str, str]:
        """What a measurement notes of the clock: how sigmas are spaced, where that is a choice."""
        return {"spacing": self.spacing} if self.scheduler == "FlowMatchEulerDiscreteScheduler" else {}

    @property
    def takes_sigmas(self) -> bool:
        """Whether the scheduler is given sigmas, rather than a number of steps alone."""
        takes = ("UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler")
        return self.is_flow and self.scheduler in takes and self.spacing == "pipeline"

    def mu(self, num_tokens: int) -> float | None:
        """Give the shift's parameter for a number of dense tokens, as diffusers' `calculate_shift`; None if fixed."""
        if not self.is_dynamic:
            return None
        (low, first), (high, last) = self.dynamic
        slope = (last - first) / (high - low)
        return num_tokens * slope + (first - slope * low)

    def shift_at(self, num_tokens: int) -> float:
        """Give the shift for a number of dense tokens; 1 for noise prediction.

        Raises:
            UserError: a dynamic one that leaves no two times apart.
        """
        mu = self.mu(num_tokens)
        if mu is None:
            return self.shift if self.is_flow else 1.0
        shift = math.exp(min(mu, 100)) if self.shift_type == "exponential" else mu
        if not SHIFTS[0] <= shift <= SHIFTS[1]:
            raise UserError(
                f"must shift time by {SHIFTS[0]:g} to {SHIFTS[1]:g}, but at {num_tokens} tokens mu is {mu:g}",
                field="base scheduler.base_shift",
            )
        return shift

    def sigmas(self, steps: int) -> list[float]:
        """Give flow matching's sigmas before the shift, from noise to data: `linspace(1, 1 / steps, steps)`."""
        return [1 - step / steps for step in range(steps)]

    def times(self, steps: int, *, num_tokens: int) -> tuple[float, ...]:
        """Give the diffusion time of every sampler step, from noise to data.

        Args:
            steps: sampler steps, at least 1; at most `num_train_timesteps` under noise prediction.
            num_tokens: dense tokens, for a dynamic shift.

        Raises:
            UserError: more steps than there are timesteps.
        """
        if not self.is_flow:
            return tuple(timestep / self.num_train_timesteps for timestep in self._timesteps(steps))
        if self.scheduler == "UniPCMultistepScheduler":
            last = 1 / self.num_train_timesteps
            own = [1 + step * ((last - 1) / steps) for step in range(steps)]
            sigmas = self.sigmas(steps) if self.takes_sigmas else own
            moved = [shifted_time(sigma, self.shift) for sigma in sigmas]
            whole = [int(min(sigma, 1 - 1e-6) * self.num_train_timesteps) for sigma in moved]
            return tuple(timestep / self.num_train_timesteps for timestep in whole)
        if self.scheduler in _MULTISTEP:
            last = 1 / self.num_train_timesteps
            alphas = [last, *(1 + step * ((last - 1) / steps) for step in range(steps - 1, 0, -1))]
            sigmas = [1 - alpha for alpha in alphas]
            shifted = [shifted_time(sigma, self.shift) for sigma in sigmas]
            return tuple(int(sigma * self.num_train_timesteps) / self.num_train_timesteps for sigma in shifted)
        sigmas = self.sigmas(steps) if self.spacing == "pipeline" else self._down_to_the_last(steps)
        shifted = [shifted_time(sigma, self.shift_at(num_tokens)) for sigma in sigmas]
        if self.shift_terminal is not None and shifted[-1] < 1:
            scale = (1 - shifted[-1]) / (1 - self.shift_terminal)
            shifted = [1 - (1 - sigma) / scale for sigma in shifted]
        return tuple(shifted)

    def _down_to_the_last(self, steps: int) -> list[float]:
        """Sigmas of `set_timesteps(steps)`, before it shifts them: from the largest to the smallest in training."""
        smallest = 1 / self.num_train_timesteps
        low = smallest if self.is_dynamic else shifted_time(smallest, self.shift)
        return [1 + (low - 1) * step / max(steps - 1, 1) for step in range(steps)]

    def _timesteps(self, steps: int) -> list[int]:
        """Timesteps of noise prediction, as `set_timesteps` makes them."""
        total = self.num_train_timesteps
        if steps > total:
            raise UserError(f"must be at most {total}, but got {steps}", field="sampler_steps", nearest=total)
        inner = self.scheduler in _MULTISTEP  # one point more, of which the last is left out
        points = steps + 1 if inner else steps
        match self.timestep_spacing:
            case "linspace":
                found = [round(point * ((total - 1) / max(points - 1, 1))) for point in range(points)]
            case "leading":
                found = [point * (total // points) for point in range(points)]
            case _:  # trailing
                gap = total / steps
                exact = (total - gap) - total  # as numpy's arange steps
                return [round(total + point * exact) - 1 for point in range(math.ceil(total / gap))]
        offset = self.steps_offset if self.timestep_spacing == "leading" else 0
        if found[-1] + offset >= total:
            raise UserError(
                f"must leave {steps} steps below {total}, but got {offset}",
                field="base scheduler.steps_offset",
                nearest=max(total - 1 - found[-1], 0),
            )
        return [timestep + offset for timestep in reversed(found[1:] if inner else found)]


def shifted_time(time: float, shift: float) -> float:
    """Move a time in [0, 1] towards noise: `shift t / (1 + (shift - 1) t)`. Source: arXiv 2403.03206, section 5.3.2."""
    return time if shift == 1.0 else shift * time / (1 + (shift - 1) * time)


def unshifted_time(time: float, shift: float) -> float:
    """Give the time that `shifted_time` moves to `time`."""
    return shifted_time(time, 1 / shift)
