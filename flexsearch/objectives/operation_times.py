"""Times of single operations, from whole generations that were designed for it.

An operation timed alone, in a loop, is faster than the same operation inside a forward pass, where weights and tokens
come from farther away and the framework's own work lies between the operations. So nothing is timed alone: whole
batches are generated under plans that hold as much of one operation as a plan can, and the times of the operations are
the least-squares solution, none negative, of

    time of a generation = once + steps * step + sum over operations (how often it ran * its time)

The design: all blocks dense (under two numbers of steps), all pooled, none at all (the step by itself), and per sparse
grid three plans: sparse blocks between one merge and one recover; merges and recovers in turn; merges and one recover.
Making a module's sparse tokens, once per module, is thereby counted with its recover. A few candidates of the space
join the fit, so that neighbours as they occur count too.

Why this and not clocks around each operation: on the quickstart's base (a CPU at rest, 54 candidates outside the fit,
8 rounds) clocks in real passes predicted 4.5 % too little; such a design, without the empty plan, 0.1 %, with a median
error of 1.0 %.

Every generation is timed between two runs of the reference workload, and the median of its ratios to the mean of those
two is taken. A second run of the same, while others' work made the machine three times slower, predicted what the first
had measured with a median error of 0.9 %; with the ratio of the medians of all runs, 4.1 %.
"""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls

from flexsearch.objectives.composed_latency import OperationKey, key_of
from flexsearch.objectives.latency import Workload, half_interquartile, seconds_of
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families import Segment
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.plan import Operation, Plan, lower
from flexsearch.schedule.roles import Role
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.timetable import Timetable

DESIGN_STEPS = 4
"""Sampler steps of a designed generation."""

_STANDARD_ERROR = 1.2533 / 0.6745
"""Of a median of n normal values: this, times half their interquartile range, over the root of n."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What is timed: a plan at `sampler_steps`. It may have no operations, which no schedule lowers to."""

    plan: Plan
    sampler_steps: int

    def counts(self, times: Sequence[float]) -> Counter[OperationKey]:
        """How often each operation runs, at the sampler's diffusion `times`."""
        stages = [Counter(key_of(operation) for operation in stage) for stage in self.plan.stages]
        return sum((stages[self.plan.stage_of(time)] for time in times), Counter())


def designed_generations(
    sparse: Sequence[tuple[int, int | None]], *, num_blocks: int, grid: TokenGrid, whole: Sequence[Role] = ()
) -> list[Generation]:
    """Generations whose times tell the operations apart.

    Args:
        sparse: sparse grids as a `Timetable` has them: tokens along the shorter side, and frames or None.
        num_blocks: blocks of the model.
        grid: its dense tokens.
        whole: roles on all tokens that are wanted beside `dense`: pool, and those of further families.
    """
    nothing = Plan(timetable=Timetable(), stages=((),))
    found = [Generation(plan=nothing, sampler_steps=DESIGN_STEPS * factor) for factor in (1, 4)]

    def add(*segments: Segment, timetable: Timetable | None = None, sampler_steps: int = DESIGN_STEPS) -> None:
        schedule = DensitySchedule(segments=segments, timetable=timetable or Timetable())
        plan = lower(schedule, num_blocks=num_blocks, grid=grid)
        found.append(Generation(plan=plan, sampler_steps=sampler_steps))

    for factor in (1, 2):
        add(Dense(depth=num_blocks), sampler_steps=DESIGN_STEPS * factor)
    for role in whole:
        blocks = tuple(Operation(kind=role, block=block, queries=grid, keys=grid) for block in range(num_blocks))
        found.append(Generation(plan=Plan(timetable=Timetable(), stages=(blocks,)), sampler_steps=DESIGN_STEPS))
    for side, frames in sparse:
        timetable = Timetable(grids=(side,), frames=frames)
        add(Sdtm(sparse=num_blocks - 2, dense=0), timetable=timetable)
        turns: list[Segment] = [Sdtm(sparse=0, dense=0)] * (num_blocks // 2)
        add(*turns, Dense(depth=num_blocks % 2), timetable=timetable)
        add(Sdtm(merge=num_blocks - 1, sparse=0, dense=0), timetable=timetable)
    return found


@dataclass(frozen=True, kw_only=True)
class RelativeTimes:
    """Times over that of the reference workload, one per workload.

    Attributes:
        ratios: time of the workload over the reference's.
        errors: relative standard error of each ratio, from the spread of its repetitions.
        reference_s: the reference's median time.
    """

    ratios: Sequence[float]
    errors: Sequence[float]
    reference_s: float


def relative_times(
    workloads: Sequence[Workload],
    reference: Workload,
    *,
    rounds: int,
    device: torch.device,
    report: Callable[[int, int], None],
) -> RelativeTimes:
    """Every workload's time over the mean of the reference's right before and after it, the median of `rounds`."""
    for workload in (*workloads, reference):
        seconds_of(workload, device)
    ratios: list[list[float]] = [[] for _ in workloads]
    references = [seconds_of(reference, device)]
    for done in range(rounds):
        for index, workload in enumerate(workloads):
            seconds = seconds_of(workload, device)
            references.append(seconds_of(reference, device))
            ratios[index].append(seconds / statistics.fmean(references[-2:]))
        report(done + 1, rounds)
    return RelativeTimes(
        ratios=[statistics.median(each) for each in ratios],
        errors=[
            _STANDARD_ERROR * half_interquartile(each) / (statistics.median(each) * math.sqrt(rounds))
            for each in ratios
        ],
        reference_s=statistics.median(references),
    )


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Times in units of the reference workload: of each operation, of a step beside its blocks, and once."""

    operations: Mapping[OperationKey, float]
    step: float
    once: float


def solve(counts: Sequence[Counter[OperationKey]], sampler_steps: Sequence[int], times: Sequence[float]) -> Solution:
    """The times that explain those of whole generations best, by relative error.

    Args:
        counts: how often each operation ran, per generation.
        sampler_steps: per generation.
        times: per generation.
    """
    keys = list(dict.fromkeys(key for count in counts for key in count))
    rows = np.array(
        [[*(count[key] for key in keys), steps, 1] for count, steps in zip(counts, sampler_steps, strict=True)],
        dtype=np.float64,
    )
    found, _ = nnls(rows / np.asarray(times)[:, None], np.ones(len(rows)))
    *operations, step, once = map(float, found)
    return Solution(operations=dict(zip(keys, operations, strict=True)), step=step, once=once)
