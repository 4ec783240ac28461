"""The first step from the data mean, and shifted times: what they do to a plan."""

from dataclasses import replace
from typing import Any

import pytest

from flexsearch.errors import UserError
from flexsearch.schedule import Cache, Candidate, Clock, DensitySchedule, GuidanceRows, Plan, Sampling, Target, lower
from flexsearch.schedule.clock import shifted_time
from flexsearch.schedule.presets import dit_shape

SHAPE = dit_shape(num_blocks=4, width=16, side=8)
FLOW = Target(shape=SHAPE)
TEXT = Target(shape=replace(SHAPE, num_classes=0, text_tokens=8, text_channels=16))
NOISE = {"scheduler": "DDIMScheduler", "is_flow": False}


def planned(sampling: Sampling, target: Target = FLOW) -> Plan:
    return lower(Candidate(schedule=DensitySchedule.all_dense(4), sampling=sampling), target)


def letters(plan: Plan) -> str:
    return "".join(step.letter for step in plan.steps)


def test_the_mean_saves_one_call() -> None:
    whole, saved = planned(Sampling(steps=4)), planned(Sampling(steps=4, start="mean"))
    assert letters(saved) == "mFFF"
    assert [step.time for step in saved.steps] == [step.time for step in whole.steps]
    assert saved.macs / whole.macs == pytest.approx(3 / 4)
    assert planned(Sampling(steps=4, solver="heun", start="mean")).macs / whole.macs == pytest.approx(6 / 4)


def test_the_pattern_is_of_the_other_steps() -> None:
    sampling = Sampling(steps=5, start="mean", cache=Cache(pattern="FFpn"))
    assert letters(planned(sampling)) == sampling.pattern == "mFFpn"
    spaced = Sampling(steps=5, start="mean", cache=Cache(full=0.5))
    assert letters(planned(spaced)) == spaced.pattern == "mFpFp"
    with pytest.raises(UserError, match="must have 4 letters"):
        planned(Sampling(steps=5, start="mean", cache=Cache(pattern="FFpFp")))


def test_the_mean_is_guided_as_a_call_would_be() -> None:
    target = Target(shape=SHAPE, is_guided=True)
    guided = planned(Sampling(steps=4, start="mean"), target).steps[0]
    assert (guided.graph.rows, guided.is_guided) == (2, True)
    rows = GuidanceRows(end=0.8, every=2)
    late = planned(Sampling(steps=4, start="mean", guidance=rows), target)
    assert [(step.graph.rows, step.is_guided) for step in late.steps] == [(1, False), (2, True), (1, True), (2, True)]
    early = planned(Sampling(steps=4, start="mean", guidance=GuidanceRows(every=2)), target)
    assert [step.graph.rows for step in early.steps] == [2, 1, 2, 1], "the mean's difference of rows serves the next"


@pytest.mark.parametrize(
    ("target", "steps", "said"),
    [
        (FLOW, 1, "sampler_steps: must be at least 2 where start is mean, but got 1; nearest legal: 2"),
        (
            Target(shape=SHAPE, clock=Clock(**NOISE, timestep_spacing="leading")),
            10,
            "needs pure noise at the first step, but its diffusion time is",
        ),
        (TEXT, 4, "start: is mean, but this base reads text"),
    ],
)
def test_where_the_mean_is_not_there_it_is_refused(target: Target, steps: int, said: str) -> None:
    sampling = Sampling(steps=steps, start="mean")
    candidate = Candidate(schedule=DensitySchedule.all_dense(target.shape.num_blocks), sampling=sampling)
    with pytest.raises(UserError, match=said):
        lower(candidate, target)


def test_noise_prediction_has_a_mean_where_the_first_step_is_at_pure_noise() -> None:
    clock = Clock(**NOISE, timestep_spacing="trailing")
    assert letters(planned(Sampling(steps=3, start="mean"), Target(shape=SHAPE, clock=clock))) == "mFF"


@pytest.mark.parametrize("solver", ["base", "ab2", "heun", "dpmsolver++", "unipc"])
def test_a_shift_is_beside_the_bases_own(solver: Any) -> None:
    def times(searched: float, *, own: float = 1.0) -> list[float]:
        target = Target(shape=SHAPE, clock=Clock(shift=own))
        plan = planned(Sampling(steps=4, solver=solver, shift=searched), target)
        return [step.time for step in plan.steps]

    assert times(2.0) == pytest.approx(times(1.0, own=2.0))
    assert times(1.5, own=2.0) == pytest.approx(times(1.0, own=3.0))
    assert times(2.0) != pytest.approx(times(1.0))


def test_a_shift_moves_times_towards_noise() -> None:
    times = [step.time for step in planned(Sampling(steps=4, shift=3.0)).steps]
    assert times == pytest.approx([shifted_time(time, 3.0) for time in (1.0, 0.75, 0.5, 0.25)])


def test_noise_prediction_has_no_shift() -> None:
    with pytest.raises(UserError, match="shift: is for flow matching, but this base predicts noise; nearest legal: 1"):
        planned(Sampling(steps=4, shift=2.0), Target(shape=SHAPE, clock=Clock(**NOISE)))


def test_they_are_spelled_and_printed() -> None:
    sampling = Sampling(steps=4, solver="ab2", shift=1.5, start="mean")
    assert str(sampling) == "x4 ab2 shift 1.5 mFFF"
    assert sampling.to_dict() == {"sampler_steps": 4, "solver": "ab2", "shift": 1.5, "start": "mean"}
    assert Sampling.from_dict(sampling.to_dict()) == sampling
    assert not Candidate(schedule=DensitySchedule.all_dense(4), sampling=sampling).reuses
    digests = {
        Candidate(schedule=DensitySchedule.all_dense(4), sampling=one).digest
        for one in (sampling, Sampling(steps=4, solver="ab2"), Sampling(steps=4, solver="ab2", shift=1.5))
    }
    assert len(digests) == 3
