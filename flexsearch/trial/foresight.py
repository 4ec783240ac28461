"""What need not be timed: candidates that a latency profile of this device puts clearly above the limit."""

from flexsearch.measurement import Measurement
from flexsearch.objectives.composed_latency import LatencyProfile
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.density import DensitySchedule
from flexsearch.trial.contract import TrialResult

CLEARLY = 3.0
"""Times the profile's median error by which a prediction must pass the limit."""


def predicted_infeasible(
    candidate: Candidate, profile: LatencyProfile | None, *, max_ms: float | None, reference_ms: float | None
) -> TrialResult | None:
    """The result of a candidate whose predicted latency is above the limit by more than the profile may err.

    Args:
        candidate: what is to be tried.
        profile: of this device; None foresees nothing.
        max_ms: the limit, in ms per image; None foresees nothing.
        reference_ms: latency of the reference workload in this study; None takes the profile's.
    """
    if profile is None or max_ms is None or not profile.covers(candidate):
        return None
    predicted_ms = profile.predict(candidate, reference_ms=reference_ms)
    if predicted_ms * (1 - CLEARLY * profile.error) <= max_ms:
        return None
    latency = Measurement(
        name="predicted_latency_ms",
        value=predicted_ms,
        unit="ms/image",
        spread=profile.error * predicted_ms,
        protocol={**profile.protocol, "statistic": "sum of operation times", "median_error": profile.error},
    )
    dense = DensitySchedule.all_dense(profile.num_blocks)
    dense_ms = profile.predict(
        Candidate(schedule=dense, sampling=Sampling(steps=candidate.sampling.steps)), reference_ms=reference_ms
    )
    return TrialResult(
        state="infeasible",
        measurements={latency.name: latency},
        constraints={"latency_limit_ms": predicted_ms - max_ms, "slower_than_dense": predicted_ms / dense_ms - 1.0},
        reason=f"a predicted {predicted_ms:.3g} ms/image is above the limit of {max_ms:.3g}",
    )
