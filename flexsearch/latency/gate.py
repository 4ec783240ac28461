"""The limits that a candidate's latency must keep to be worth training.

A candidate that a latency profile of the device puts clearly above the limit is not timed. Every other one is, end to
end, so that all points of a front are. Whether a limit can be kept at all is told before anything is trained.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from flexsearch.errors import UserError
from flexsearch.latency.design import dense_plan, model_calls
from flexsearch.latency.measure import ImageTimer
from flexsearch.latency.profile import LatencyProfile
from flexsearch.measurement import Measurement
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.plan import Plan
from flexsearch.space.search_space import SearchSpace

CLEARLY = 3.0
"""Times the profile's median error by which a prediction must pass the limit."""
NUM_TIMED = 3
_LOOK_AT = 20_000


@dataclass(frozen=True, kw_only=True)
class Infeasible:
    """A candidate that is not worth training.

    Attributes:
        latency: as it is known.
        constraints: by how much it breaks each limit; at most 0 is within.
        reason: one sentence.
    """

    latency: Measurement
    constraints: Mapping[str, float]
    reason: str


def predicted_infeasible(
    plan: Plan, profile: LatencyProfile | None, *, max_ms: float | None, reference_ms: float | None
) -> Infeasible | None:
    """Refuse a candidate whose predicted latency is above the limit by more than the profile may err.

    Args:
        plan: of the candidate.
        profile: of this device; None predicts nothing.
        max_ms: the limit, in ms per image; None sets none.
        reference_ms: latency of the reference workload in this study; None takes the profile's.
    """
    if profile is None or max_ms is None or not profile.covers(plan):
        return None
    predicted_ms = profile.predict(plan, reference_ms=reference_ms)
    if predicted_ms * (1 - CLEARLY * profile.error) <= max_ms:
        return None
    latency = Measurement(
        name="predicted_latency_ms",
        value=predicted_ms,
        unit="ms/image",
        spread=profile.error * predicted_ms,
        protocol={**profile.protocol, "statistic": "sum of operation times", "median_error": profile.error},
    )
    dense_ms = profile.predict(dense_plan(plan.target, plan.candidate.sampling), reference_ms=reference_ms)
    return Infeasible(
        latency=latency,
        constraints={"latency_limit_ms": predicted_ms - max_ms, "slower_than_dense": predicted_ms / dense_ms - 1.0},
        reason=f"a predicted {predicted_ms:.3g} ms/image is above the limit of {max_ms:.3g}",
    )


def constraints_of(
    latency: Measurement, plan: Plan, *, max_ms: float | None, reference: Plan, reference_ms: float
) -> dict[str, float]:
    """Say by how much a measured latency breaks each limit; at most 0 is within.

    Args:
        latency: in ms per image.
        plan: what was measured.
        max_ms: the limit; None sets none.
        reference: the plan of the reference workload, of the dense base.
        reference_ms: its latency per image. The dense base at the candidate's sampling takes this much for every as
            many model calls.
    """
    dense = dense_plan(plan.target, plan.candidate.sampling)
    dense_ms = reference_ms * model_calls(dense) / model_calls(reference)
    clearly_ms = latency.value - (latency.spread or 0.0)  # what only noise makes slower is not refused
    return {
        "latency_limit_ms": -1.0 if max_ms is None else latency.value - max_ms,
        "slower_than_dense": clearly_ms / dense_ms - 1.0,
    }


def measured_infeasible(
    latency: Measurement, constraints: Mapping[str, float], *, max_ms: float | None
) -> Infeasible | None:
    """Refuse a candidate whose measured latency breaks a limit."""
    if constraints["latency_limit_ms"] > 0:
        reason = f"{latency.value:.3g} ms/image is above the limit of {max_ms:.3g}"
    elif constraints["slower_than_dense"] > 0:
        reason = f"{latency.value:.3g} ms/image is slower than the dense base at the same sampler steps"
    else:
        return None
    return Infeasible(latency=latency, constraints=constraints, reason=reason)


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
