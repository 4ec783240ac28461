"""Whether a latency limit can be kept at all, told before anything is trained."""

import math

from flexsearch.errors import UserError
from flexsearch.measurement import Measurement
from flexsearch.objectives.composed_latency import LatencyProfile
from flexsearch.objectives.generation import generation
from flexsearch.objectives.latency import REFERENCE_STEPS, Workload, measure_latency
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.macs import TransformerShape, plan_macs
from flexsearch.space.search_space import SearchSpace
from flexsearch.trial.inputs import Inputs, load_inputs
from flexsearch.trial.profile import load_profile
from flexsearch.trial.settings import TrialSettings

NUM_TIMED = 3
_LOOK_AT = 20_000


def check_budget(settings: TrialSettings) -> None:
    """Times the candidates of the space that should be fastest, with the base's weights: training changes no time.

    Raises:
        UserError: even the fastest of them is above `objectives.latency.max_ms`; names the least latency in reach.
    """
    limit = settings.objectives.latency.max_ms
    if limit is None:
        return
    space, inputs = settings.search_space, load_inputs(settings)
    candidates = fastest_candidates(space, settings.shape, num=NUM_TIMED, profile=load_profile(settings))
    timed = {candidate: _latency(candidate, space, settings, inputs) for candidate in candidates}
    fastest = min(timed, key=lambda candidate: timed[candidate].value)
    latency = timed[fastest]
    if latency.value > limit:
        raise UserError(
            f"no schedule of the space is that fast on {latency.protocol['device']}: the fastest found, {fastest}, "
            f"takes {latency.value:.3g} ms/image, but got {limit:g}",
            field="objectives.latency.max_ms",
            nearest=f"{_rounded_up(latency.value):g}",
        )


def fastest_candidates(
    space: SearchSpace, shape: TransformerShape, *, num: int, profile: LatencyProfile | None = None
) -> list[Candidate]:
    """The `num` candidates with different schedules that should be fastest, by the profile where there is one, else by
    multiply-accumulates. Of a space with more than 20,000 choices, out of as many draws."""
    macs: dict[DensitySchedule, float] = {}

    def cost(candidate: Candidate) -> float:
        if profile is not None:
            return profile.predict(candidate)
        schedule = candidate.schedule
        if schedule not in macs:
            macs[schedule] = plan_macs(space.plan(schedule), shape)
        return macs[schedule] * candidate.sampling.steps

    fastest: dict[str, Candidate] = {}
    for candidate in sorted(space.candidates(up_to=_LOOK_AT), key=cost):
        fastest.setdefault(candidate.schedule.digest, candidate)
        if len(fastest) == num:
            break
    return list(fastest.values())


def _latency(candidate: Candidate, space: SearchSpace, settings: TrialSettings, inputs: Inputs) -> Measurement:
    """Latency, measured end to end."""
    batch = settings.objectives.latency.batch
    dense = Candidate(schedule=DensitySchedule.all_dense(space.num_blocks), sampling=Sampling(steps=REFERENCE_STEPS))

    def workload(one: Candidate) -> Workload:
        return generation(
            inputs.base.model.with_plan(space.plan(one.schedule)),
            inputs.base.scheduler,
            condition=inputs.data.conditions.of_samples(range(batch)),
            none=inputs.data.conditions.none(batch),
            sampler_steps=one.sampling.steps,
            sampling=settings.sampling,
        )

    latency, _ = measure_latency(
        workload(candidate),
        workload(dense),
        reference_ms=None,
        settings=settings.objectives.latency,
        device=inputs.device,
        protocol={},
    )
    return latency


def _rounded_up(ms: float) -> float:
    """`ms` with three digits, not below it."""
    scale = 10.0 ** (2 - math.floor(math.log10(ms)))
    return math.ceil(ms * scale) / scale
