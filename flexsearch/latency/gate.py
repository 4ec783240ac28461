"""The limits that a candidate's latency and memory must keep to be worth training.

A candidate that a latency profile of the device puts clearly above the limit is not timed. Every other one is, end to
end, so that all points of a front are. Whether a limit can be kept at all is told before anything is trained.
"""

import math
from collections.abc import Mapping

from flexsearch.errors import UserError
from flexsearch.latency.design import dense_plan
from flexsearch.latency.image_timer import ImageTimer
from flexsearch.latency.profile import LatencyProfile
from flexsearch.measurement import Measurement
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.plan import Plan
from flexsearch.schedule.sampling import Sampling
from flexsearch.space.search_space import SearchSpace

PREDICTED = "predicted_latency_ms"
"""Name of the measurement."""
CLEARLY = 3.0
"""Times the profile's median error by which a prediction must pass the limit."""
MEMORY_LIMIT = "memory_limit_gb"
"""Name of the constraint, where there is one."""
NUM_TIMED = 3
_LOOK_AT = 20_000


def predicted_infeasible(
    plan: Plan, profile: LatencyProfile | None, *, max_ms: float | None, reference_ms: float | None
) -> tuple[Measurement, dict[str, float]] | None:
    """Give the predicted latency and its constraints where it is above the limit by more than the profile may err.

    Args:
        plan: of the candidate.
        profile: of this device; None predicts nothing.
        max_ms: the limit, in ms per image; None sets none.
        reference_ms: latency of the reference workload in this study; None takes the profile's.
    """
    if profile is None or max_ms is None or not profile.covers(plan):
        return None
    ms = profile.predict(plan, reference_ms=reference_ms)
    if ms * (1 - CLEARLY * profile.error) <= max_ms:
        return None
    protocol = {**profile.protocol, "statistic": "sum of operation times", "median_error": profile.error}
    latency = Measurement(name=PREDICTED, value=ms, unit="ms/image", spread=profile.error * ms, protocol=protocol)
    dense_ms = profile.predict(_dense_plan(plan), reference_ms=reference_ms)
    return latency, {"latency_limit_ms": ms - max_ms, "slower_than_dense": _slower(plan, ms / dense_ms)}


def _dense_plan(plan: Plan) -> Plan:
    """The dense base at the sampler steps of a plan, by its solver, all of them in full."""
    own = plan.candidate.sampling
    return dense_plan(plan.target, Sampling(steps=own.steps, solver=own.solver))


def constraints_of(
    latency: Measurement, plan: Plan, *, max_ms: float | None, reference: Plan, reference_ms: float
) -> dict[str, float]:
    """Say by how much a measured latency breaks each limit; at most 0 is within.

    Args:
        latency: in ms per image.
        plan: what was measured.
        max_ms: the limit; None sets none.
        reference: the plan of the reference workload, of the dense base.
        reference_ms: its latency per image. The dense base that computes the candidate's steps in full takes as much
            per step.
    """
    dense_ms = reference_ms * len(plan.steps) / len(reference.steps)
    clearly_ms = latency.value - (latency.spread or 0.0)  # what only noise makes slower is not refused
    limit = -1.0 if max_ms is None else latency.value - max_ms
    return {"latency_limit_ms": limit, "slower_than_dense": _slower(plan, clearly_ms / dense_ms)}


def memory_constraint(memory: Measurement | None, *, max_gb: float | None) -> dict[str, float]:
    """Say by how much measured memory breaks its limit; nothing where there is none."""
    return {} if memory is None or max_gb is None else {MEMORY_LIMIT: memory.value - max_gb}


def _slower(plan: Plan, ratio: float) -> float:
    """The share by which a plan is slower than the dense base; a dense schedule is so by its solver alone, which is no
    reason to refuse it.
    """
    return min(ratio - 1.0, 0.0) if plan.candidate.schedule.is_dense else ratio - 1.0


def infeasible_reason(latency: Measurement, constraints: Mapping[str, float], *, max_ms: float | None) -> str | None:
    """Say in one sentence why a candidate is not worth training; None if it is."""
    ms = f"{'a predicted ' if latency.name == PREDICTED else ''}{latency.value:.3g} ms/image"
    if constraints["latency_limit_ms"] > 0:
        return f"{ms} is above the limit of {max_ms:.3g}"
    if constraints["slower_than_dense"] > 0:
        return f"{ms} is slower than the dense base at the same sampler steps"
    if constraints.get(MEMORY_LIMIT, 0.0) > 0:
        return f"it needs {constraints[MEMORY_LIMIT]:.3g} GB more than objectives.memory.max_gb"
    return None


def check_budget(timer: ImageTimer, space: SearchSpace, *, profile: LatencyProfile | None) -> None:
    """Time the candidates of the space that should be fastest, on the base's weights: training changes no time.

    Args:
        timer: of the base, which gets the weights that the candidates need; its settings hold the limit.
        space: whose candidates are timed.
        profile: of this device, where there is one.

    Raises:
        UserError: even the fastest of them is above `objectives.latency.max_ms`; names the least latency in reach.
    """
    limit = timer.settings.max_ms
    if limit is None:
        return
    fastest, latency = min(
        ((one, timer.measure(space.plan(one))[0]) for one in fastest_candidates(space, num=NUM_TIMED, profile=profile)),
        key=lambda timed: timed[1].value,
    )
    if latency.value > limit:
        raise UserError(
            f"no schedule of the space is that fast on {latency.protocol['device']}: the fastest found, {fastest}, "
            f"takes {latency.value:.3g} ms/image, but got {limit:g}",
            field="objectives.latency.max_ms",
            nearest=f"{_rounded_up(latency.value):g}",
        )


def fastest_candidates(space: SearchSpace, *, num: int, profile: LatencyProfile | None = None) -> list[Candidate]:
    """Give the `num` candidates with different schedules that should be fastest.

    By the profile where it covers all of them, else by multiply-accumulates. Of a space with more than 20,000 choices,
    out of as many draws.
    """
    plans = [space.plan(one) for one in space.candidates(up_to=_LOOK_AT)]
    is_covered = profile is not None and all(map(profile.covers, plans))
    cost = profile.predict if profile is not None and is_covered else (lambda plan: plan.macs)
    fastest: dict[str, Candidate] = {}
    for plan in sorted(plans, key=cost):
        fastest.setdefault(plan.candidate.schedule.digest, plan.candidate)
    return list(fastest.values())[:num]


def _rounded_up(ms: float) -> float:
    """`ms` with three digits, not below it."""
    scale = 10.0 ** (2 - math.floor(math.log10(ms)))
    return math.ceil(ms * scale) / scale
