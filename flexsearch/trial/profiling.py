"""Making a latency profile: the operations of a space are timed, and tested on candidates that the fit did not see."""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan

import torch
from scipy.stats import kendalltau

from flexsearch.cpu_memory import keep_freed_memory
from flexsearch.data.conditions import random_condition
from flexsearch.diffusion.sampling import sampler_times
from flexsearch.models.untrained import base_or_untrained
from flexsearch.objectives.composed_latency import HeldOut, LatencyProfile, OperationTime
from flexsearch.objectives.generation import generation
from flexsearch.objectives.latency import REFERENCE_STEPS, Workload, cpu_threads
from flexsearch.objectives.operation_times import Generation, RelativeTimes, designed_generations, relative_times, solve
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.roles import Role
from flexsearch.space.search_space import SearchSpace
from flexsearch.trial.device import trial_device
from flexsearch.trial.profile import SparseGrid, hardware_of, sparse_grids
from flexsearch.trial.settings import TrialSettings

NUM_HELD_OUT = 12
NUM_FITTED = 6
"""Candidates of the space in the fit, beside the designed generations."""
_DRAW_FROM = 2000

ProfilingReport = Callable[[str, int, int], None]


class Stopwatch:
    """Times generations on the device of this process, as ratios to the reference workload.

    Args:
        settings: base, space, and how images are drawn. Where the base's weights are not on this machine a model of
            the same sizes takes its place: time does not depend on weights.
        rounds: repetitions.
        report: called with (what is timed, rounds done, rounds in all).

    Raises:
        UserError: the base is not on this machine and its sizes are not known.
    """

    def __init__(self, settings: TrialSettings, *, rounds: int, report: ProfilingReport) -> None:
        keep_freed_memory()
        self._settings, self.rounds, self._report = settings, rounds, report
        self.device = trial_device()
        self.base, self.is_base = base_or_untrained(settings.base, device=self.device)
        self.space: SearchSpace = settings.search_space
        batch = settings.objectives.latency.batch
        self._condition = random_condition(self.base.model.shape, batch=batch, generator=torch.Generator())

    def generation(self, candidate: Candidate) -> Generation:
        """What a candidate runs."""
        return Generation(plan=self.space.plan(candidate.schedule), sampler_steps=candidate.sampler_steps)

    def times(self, generations: Sequence[Generation], *, what: str) -> RelativeTimes:
        """One time per generation, over that of the dense base."""
        dense = DensitySchedule.all_dense(self.space.num_blocks)
        reference = self.generation(Candidate(schedule=dense, sampling=Sampling(steps=REFERENCE_STEPS)))
        with cpu_threads(self._settings.objectives.latency.threads):
            return relative_times(
                [self._workload(one) for one in generations],
                self._workload(reference),
                rounds=self.rounds,
                device=self.device,
                report=lambda done, total: self._report(what, done, total),
            )

    def _workload(self, one: Generation) -> Workload:
        return generation(
            self.base.model.with_plan(one.plan),
            self.base.scheduler,
            condition=self._condition,
            none=self._condition,
            sampler_steps=one.sampler_steps,
            sampling=self._settings.sampling,
        )


def make_profile(
    settings: TrialSettings,
    *,
    others: Sequence[Candidate],
    rounds: int,
    report: ProfilingReport,
    num_held_out: int = NUM_HELD_OUT,
) -> LatencyProfile:
    """Times the operations of the space, then candidates that the fit does not know.

    Args:
        settings: base, space, and how images are drawn.
        others: candidates that need not lie in the space, such as baselines, whose operations are to be covered too.
        rounds: repetitions of everything.
        report: called with (what is timed, rounds done, rounds in all).
        num_held_out: candidates to test the profile on.

    Raises:
        UserError: the base is not on this machine and its sizes are not known.
    """
    stopwatch = Stopwatch(settings, rounds=rounds, report=report)
    held_out, fitted = _drawn(stopwatch.space, num_held_out, NUM_FITTED)
    profile = _fitted(stopwatch, settings, fitted=fitted, steps={one.sampler_steps for one in others}, others=others)
    return _tested(profile, stopwatch, held_out, batch=settings.objectives.latency.batch)


def _drawn(space: SearchSpace, num_held_out: int, num_fitted: int) -> tuple[list[Candidate], list[Candidate]]:
    """Different candidates to test and to fit; a small space may have few."""
    found = space.candidates(up_to=_DRAW_FROM)
    random.Random(0).shuffle(found)
    return found[:num_held_out], found[num_held_out : num_held_out + num_fitted]


def _fitted(
    stopwatch: Stopwatch,
    settings: TrialSettings,
    *,
    fitted: Sequence[Candidate],
    steps: set[int],
    others: Sequence[Candidate],
) -> LatencyProfile:
    """A profile that is yet to be tested."""
    space, scheduler = stopwatch.space, stopwatch.base.scheduler
    designed = designed_generations(
        _grids_of(space, others),
        num_blocks=space.num_blocks,
        grid=space.grid,
        whole=sorted(_roles_of(space, others) - {"dense", "merge", "sparse", "recover"}),
    )
    generations = [*designed, *map(stopwatch.generation, fitted)]
    times = stopwatch.times(generations, what="operations")
    solution = solve(
        [one.counts(sampler_times(scheduler, one.sampler_steps)) for one in generations],
        [one.sampler_steps for one in generations],
        times.ratios,
    )
    reference_ms = times.reference_s * 1000
    unit_ms = reference_ms / settings.objectives.latency.batch
    return LatencyProfile(
        num_blocks=space.num_blocks,
        grid=space.grid,
        operations=tuple(
            OperationTime(kind=kind, queries=queries, keys=keys, ms=ratio * unit_ms)
            for (kind, queries, keys), ratio in solution.operations.items()
        ),
        step_ms=solution.step * unit_ms,
        image_ms=solution.once * unit_ms,
        reference_ms=reference_ms,
        sampler_times={num: tuple(sampler_times(scheduler, num)) for num in sorted({*space.sampler_steps, *steps})},
        noise=statistics.median(times.errors),
        error=0.0,
        kendall_tau=None,
        held_out=(),
        protocol={
            **hardware_of(settings),
            "batch": settings.objectives.latency.batch,
            "guidance": settings.sampling.guidance,
            "dtype": settings.sampling.dtype,
            "sampler": type(scheduler).__name__,
            "weights": "base" if stopwatch.is_base else "random",
            "rounds": stopwatch.rounds,
            "statistic": "median of ratios to the dense base right before and after",
        },
    )


def _roles_of(space: SearchSpace, others: Sequence[Candidate]) -> frozenset[Role]:
    """The roles of blocks in the space and in `others`."""
    return space.roles().union(*(one.schedule.roles for one in others))


def _grids_of(space: SearchSpace, others: Sequence[Candidate]) -> list[SparseGrid]:
    """The sparse grids of the space and of `others`, fewest tokens first."""
    schedules = [one.schedule for one in others if one.schedule.has_sparse_tokens]
    found = {(side, one.timetable.frames) for one in schedules for side in one.timetable.grids}
    return sorted(found.union(sparse_grids(space)), key=lambda one: space.grid.pooled(*one).num_tokens)


def _tested(
    profile: LatencyProfile, stopwatch: Stopwatch, held_out: Sequence[Candidate], *, batch: int
) -> LatencyProfile:
    """The profile with what it predicts and what is measured of `held_out`, both in its own reference's units."""
    times = stopwatch.times([stopwatch.generation(one) for one in held_out], what="schedules outside the fit")
    predicted = [profile.predict(one) for one in held_out]
    measured = [ratio * profile.reference_ms / batch for ratio in times.ratios]
    tau = float(kendalltau(predicted, measured).statistic) if len(held_out) > 1 else float("nan")
    return replace(
        profile,
        error=statistics.median(abs(guess / found - 1) for guess, found in zip(predicted, measured, strict=True)),
        kendall_tau=None if isnan(tau) else tau,
        held_out=tuple(
            HeldOut(candidate=one, predicted_ms=guess, measured_ms=found)
            for one, guess, found in zip(held_out, predicted, measured, strict=True)
        ),
    )
