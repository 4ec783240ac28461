"""Solvers of the sampling equation, by name, and the clock of each. `flexsearch.diffusion.solvers` runs them."""

from dataclasses import replace
from typing import Literal

from flexsearch.errors import UserError
from flexsearch.schedule.clock import Clock

SolverName = Literal["base", "ab2", "heun", "dpmsolver++", "unipc", "deis"]
"""`base` is the base's own scheduler. Of second order, without noise: `ab2`, Adams-Bashforth with variable steps, and
`heun`, with two model calls for each step but the last, on the base's own grid; diffusers' multistep `dpmsolver++`
(arXiv 2211.01095), `unipc` (arXiv 2302.04867) and, for noise prediction, `deis` (arXiv 2204.13902), on their own."""

_CLASSES = {
    "dpmsolver++": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "deis": "DEISMultistepScheduler",
}


def clock_under(solver: SolverName, clock: Clock, *, shift: float, num_tokens: int) -> Clock:
    """Give the clock of a base under a solver.

    Args:
        solver: its name.
        clock: of the base's own scheduler.
        shift: of flow matching's times, beside the base's own.
        num_tokens: dense tokens, for a dynamic shift.

    Raises:
        UserError: the solver or the shift is not for this kind of base.
    """
    if shift != 1:
        if not clock.is_flow:
            raise UserError("is for flow matching, but this base predicts noise", field="shift", nearest=1)
        clock = replace(clock, shift=shift * clock.shift_at(num_tokens), is_dynamic=False)
    if solver not in _CLASSES:
        return clock
    if clock.is_flow and solver == "deis":
        raise UserError("deis is for noise prediction, but this base does flow matching", field="solver", nearest="ab2")
    own = clock.shift_at(num_tokens)
    return replace(
        clock, scheduler=_CLASSES[solver], spacing="pipeline", shift=own, is_dynamic=False, shift_terminal=None
    )


def times_under(solver: SolverName, clock: Clock, steps: int, *, shift: float, num_tokens: int) -> tuple[float, ...]:
    """Give the diffusion time of every model call, from noise to data.

    Args:
        solver: its name.
        clock: of the base's own scheduler.
        steps: sampler steps.
        shift: of flow matching's times, beside the base's own.
        num_tokens: dense tokens, for a dynamic shift.

    Raises:
        UserError: more steps than there are timesteps, or the solver or the shift is not for this kind of base.
    """
    times = clock_under(solver, clock, shift=shift, num_tokens=num_tokens).times(steps, num_tokens=num_tokens)
    if solver != "heun":
        return times
    return (times[0], *(time for time in times[1:] for _ in range(2)))


def is_deterministic(solver: SolverName, clock: Clock) -> bool:
    """Tell whether a step adds no noise, so that what an earlier call computed may be reused."""
    return solver != "base" or not clock.is_stochastic
