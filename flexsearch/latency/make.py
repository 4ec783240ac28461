"""Making a latency profile: the operations of a space are timed, and tested on candidates that the fit did not see."""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import isnan

import torch
from scipy.stats import kendalltau

from flexsearch.cpu_memory import keep_freed_memory
from flexsearch.data.conditions import random_condition
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.latency.axes import Axes
from flexsearch.latency.cache import sparse_timetables
from flexsearch.latency.compiler import check_compiler
from flexsearch.latency.design import designed_plans
from flexsearch.latency.fit import solve
from flexsearch.latency.image_timer import ImageTimer
from flexsearch.latency.profile import HeldOut, LatencyProfile
from flexsearch.latency.settings import LatencySettings
from flexsearch.models.settings import BaseSettings
from flexsearch.models.untrained import base_or_untrained
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.plan import Plan
from flexsearch.space.search_space import SearchSpace

NUM_HELD_OUT = 12
NUM_FITTED = 6
"""Candidates of the space in the fit, beside the designed plans."""
_DRAW_FROM = 2000

ProfilingReport = Callable[[str, int, int], None]


def make_profile(
    base: BaseSettings,
    space: SearchSpace,
    *,
    settings: LatencySettings,
    sampling: SamplingSettings,
    device: torch.device,
    others: Sequence[Candidate],
    rounds: int,
    report: ProfilingReport,
    num_held_out: int = NUM_HELD_OUT,
) -> LatencyProfile:
    """Time the operations of a space, then candidates that the fit does not know, in ratios to the reference workload.

    Args:
        base: the dense base. Where its weights are not on this machine a model of the same sizes takes its place: time
            does not depend on weights.
        space: of this base.
        settings: batch and threads.
        sampling: how images are drawn.
        device: of the base.
        others: candidates that need not lie in the space, such as baselines, whose operations are to be covered too.
        rounds: repetitions of everything.
        report: called with (what is timed, rounds done, rounds in all).
        num_held_out: candidates to test the profile on.

    Raises:
        UserError: the base is not on this machine and its sizes are not known.
    """
    keep_freed_memory()
    if settings.compile:
        check_compiler(device)
    loaded, is_base = base_or_untrained(base, device=device)
    condition = random_condition(loaded.model.shape, batch=settings.batch, generator=torch.Generator())
    timer = ImageTimer(
        base=loaded, target=space.target, settings=settings, sampling=sampling, condition=condition, none=condition
    )
    drawn = space.candidates(up_to=_DRAW_FROM)
    random.Random(0).shuffle(drawn)
    held_out, fitted = drawn[:num_held_out], drawn[num_held_out : num_held_out + NUM_FITTED]
    plans = [*_designed(space, drawn, others), *map(space.plan, fitted)]
    ratios, errors, reference_s = timer.relative(plans, rounds=rounds, report=partial(report, "operations"))
    unit_ms = reference_s * 1000 / settings.batch
    profile = LatencyProfile.of(
        {term: ratio * unit_ms for term, ratio in solve(plans, ratios).items()},
        num_blocks=space.num_blocks,
        grid=space.grid,
        reference_ms=reference_s * 1000,
        noise=statistics.median(errors),
        error=0.0,
        kendall_tau=None,
        held_out=(),
        protocol={
            **timer.protocol,
            "weights": "base" if is_base else "random",
            "rounds": rounds,
            "statistic": "median of ratios to the dense base right before and after",
        },
    )
    plans = list(map(space.plan, held_out))
    ratios, _, _ = timer.relative(plans, rounds=rounds, report=partial(report, "schedules outside the fit"))
    return _tested(profile, plans, [ratio * unit_ms for ratio in ratios])


def _designed(space: SearchSpace, drawn: Sequence[Candidate], others: Sequence[Candidate]) -> list[Plan]:
    """The designed plans for all that the space, of which some candidates were drawn, and others hold."""
    candidates = [*others, *drawn]
    schedules = [one.schedule for one in candidates]
    kinds = {segment.kind for segment in space.segments} | {type(one) for each in schedules for one in each.segments}
    sparse = [each.timetable for each in schedules if each.has_sparse_tokens]
    graphs = dict.fromkeys(graph for one in candidates for graph in space.plan(one).graphs)
    return designed_plans(
        space.target,
        families=sorted(kinds, key=lambda kind: kind.family),
        timetables=sparse_timetables(space, sparse),
        operations=[operation for graph in graphs for operation in graph.route],
        axes=Axes.of_space(space) | Axes.of_plans(map(space.plan, others)),
    )


def _tested(profile: LatencyProfile, plans: Sequence[Plan], measured: Sequence[float]) -> LatencyProfile:
    """The profile with what it predicts and what was measured of plans that it does not know, in ms per image."""
    predicted = list(map(profile.predict, plans))
    tau = float(kendalltau(predicted, measured).statistic) if len(plans) > 1 else float("nan")
    return replace(
        profile,
        error=statistics.median(abs(guess / found - 1) for guess, found in zip(predicted, measured, strict=True)),
        kendall_tau=None if isnan(tau) else tau,
        held_out=tuple(
            HeldOut(schedule=str(one), candidate=one.to_dict(), predicted_ms=guess, measured_ms=found)
            for one, guess, found in zip((plan.candidate for plan in plans), predicted, measured, strict=True)
        ),
    )
