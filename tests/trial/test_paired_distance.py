"""How far samples are from the dense base's own: the number by itself, and what a trial reports of it."""

from dataclasses import replace

import pytest
import torch
from builders import Call, nothing

from flexsearch.objectives.paired_features import paired_distance
from flexsearch.schedule import Candidate, DensitySchedule, Sampling
from flexsearch.trial.contract import TrialOrder
from flexsearch.trial.life import run_trial

REPORTED = {"quality": {"report": ["paired_distance"]}}


def dense(order: TrialOrder, *, steps: int, number: int) -> TrialOrder:
    candidate = Candidate(schedule=DensitySchedule.all_dense(8), sampling=Sampling(steps=steps))
    return replace(order, number=number, candidate=candidate, baseline=f"dense, {steps} steps", fine_tune=False)


def test_the_same_samples_have_none_and_unrelated_ones_have_one() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(4000, 16, generator=generator) @ torch.diag(torch.arange(1.0, 17)) for _ in range(2))
    assert paired_distance(ours, ours) == 0.0
    assert paired_distance(ours, theirs) == pytest.approx(1.0, abs=0.02)
    assert paired_distance(theirs + 0.1 * ours, theirs) == pytest.approx(0.1 / 2**0.5, rel=0.02)
    assert paired_distance(7 * ours + 3, 7 * theirs + 3) == pytest.approx(paired_distance(ours, theirs)), (
        "the features' scale cancels"
    )
    rows = ours[:50]
    assert paired_distance(torch.cat([rows, torch.full((20, 16), 9.0)]), rows) == 0.0, "as many as the reference has"
    assert paired_distance(rows[:10], rows) == 0.0


def test_trials_are_compared_with_converged_samples_of_the_dense_base(start: Call) -> None:
    order = start(objectives=REPORTED, space={"sampler_steps": {"choice": [1, 2, 12]}})
    few, many = (run_trial(dense(order, steps=steps, number=steps), nothing) for steps in (1, 12))
    ours = run_trial(order, nothing)
    found = [one.measurements["paired_distance"] for one in (many, few, ours)]
    assert 0 < found[0].value < found[1].value
    assert found[2].value > 0
    assert found[2].protocol["from"] == ("the dense base's converged samples (ab2, 24 steps), from the same noise"), (
        "twice the most steps of the space"
    )
    assert {"images", "seed", "extractor"} <= found[2].protocol.keys()


def test_it_is_not_measured_where_nobody_asks_for_it(start: Call) -> None:
    assert "paired_distance" not in run_trial(start(), nothing).measurements
