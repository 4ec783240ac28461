"""Check the choices of sampling of a space: each can be built, and has an effect on this base."""

import itertools
import math
from collections.abc import Iterator, Sequence

from flexsearch.errors import UserError
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.solver import SolverName, clock_under, is_deterministic
from flexsearch.schedule.start import Start
from flexsearch.space.domains import Value, corners
from flexsearch.space.search_space import SearchSpace
from flexsearch.space.searched import Searched

MOST_CHECKED = 200_000
"""Combinations of choices that are tried when a space is read; more are refused."""


def check_sampling(space: SearchSpace, *, field: str) -> None:
    """Check that every choice of sampling can be built, and that each has an effect on this base."""
    sampling, target = space.sampling, space.target
    for part in sampling.parts:
        for row in combinations(part, field=f"{field}.{part.name}"):
            try:
                part.build(row)
            except UserError as error:
                raise error.under(f"{field}.{part.name}") from None
    chosen = {part.name for part in sampling.parts}
    solvers, steps = sampling.values_of("solver") or ("base",), space.steps
    try:
        for solver in solvers:
            for shift in sampling.values_of("shift") or (1.0,):
                clock_under(solver, target.clock, shift=shift, num_tokens=space.grid.num_tokens)
        if "cache" in chosen and not all(is_deterministic(solver, target.clock) for solver in solvers):
            raise UserError(
                f"must take steps without noise, which reuse needs, but {target.clock.scheduler} adds it",
                field="solver",
                nearest="dpmsolver++",
            )
        if "guidance" in chosen and not target.is_guided:
            raise UserError("has no effect: sampling.guidance is 1, so there is one row", field="guidance")
        for part in (one for one in sampling.parts if one.name == "cache"):
            for pattern in part.values_of("pattern"):
                for step, solver, start in itertools.product(steps, solvers, sampling.values_of("start") or ("model",)):
                    Cache(pattern=pattern).of(Sampling(steps=step, solver=solver, start=start).num_patterned)
        for start in sorted(space.starts):
            _check_start(space, start, solvers)
        if space.plans_masks and "heun" in solvers:
            raise UserError("has two calls per step, for which no masks are planned", field="solver", nearest="ab2")
        for part in (one for one in sampling.parts if one.name == "gain"):
            for block in part.values_of("at"):
                if block >= space.num_blocks:
                    last = space.num_blocks - 1
                    raise UserError(f"must be at most {last}, but got {block}", field="gain.at", nearest=last)
    except UserError as error:
        raise error.under(field) from None


def _check_start(space: SearchSpace, start: Start, solvers: Sequence[SolverName]) -> None:
    """Check that what is known of the data can take the place of every first step."""
    if space.plans_masks:
        raise UserError(f"may be {start}, for which no masks are planned", field="start", nearest="model")
    for solver in solvers:
        if not is_deterministic(solver, space.target.clock):
            raise UserError(
                f"must take steps without noise for start {start}, but {space.target.clock.scheduler} adds it",
                field="solver",
                nearest="dpmsolver++",
            )
        for steps in space.steps:
            sampling = Sampling(steps=steps, solver=solver, start=start)
            space.plan(Candidate(schedule=DensitySchedule.all_dense(space.num_blocks), sampling=sampling))


def combinations(part: Searched, *, field: str) -> Iterator[dict[str, Value]]:
    """Give every choice of a mapping's parameters.

    Raises:
        UserError: there are too many.
    """
    columns = {name: corners(domain) for name, domain in part.domains}
    num = math.prod(map(len, columns.values()))
    if num > MOST_CHECKED:
        raise UserError(f"at most {MOST_CHECKED} combinations can be checked, but got {num}", field=field)
    return (dict(zip(columns, row, strict=True)) for row in itertools.product(*columns.values()))
