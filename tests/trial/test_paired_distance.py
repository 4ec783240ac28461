"""How far samples drift from the dense base's: the number by itself, and where a trial takes its reference from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders import Call, nothing
from safetensors.torch import load_file

from flexsearch.objectives.paired_features import paired_distance
from flexsearch.schedule import Candidate, DensitySchedule, Sampling
from flexsearch.trial import paired_distance as drifting
from flexsearch.trial.context import trial_context
from flexsearch.trial.contract import TrialOrder
from flexsearch.trial.life import run_trial


def dense(order: TrialOrder, *, steps: int, number: int) -> TrialOrder:
    candidate = Candidate(schedule=DensitySchedule.all_dense(8), sampling=Sampling(steps=steps))
    return replace(order, number=number, candidate=candidate, baseline=f"dense, {steps} steps", fine_tune=False)


def reference(order: TrialOrder) -> Path:
    (found,) = trial_context(order.run_dir).shared.folder.glob("dense_features-*.safetensors")
    return found


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
    order = start(space={"sampler_steps": {"choice": [1, 2, 12]}})
    written = reference(order).stat().st_mtime_ns
    few, many = (run_trial(dense(order, steps=steps, number=steps), nothing) for steps in (1, 12))
    ours = run_trial(order, nothing)
    found = [one.measurements["paired_distance"] for one in (many, few, ours)]
    assert 0 < found[0].value < found[1].value
    assert found[2].value > 0
    assert found[2].protocol["from"] == ("the dense base's converged samples (ab2, 24 steps), from the same noise"), (
        "twice the most steps of the space"
    )
    assert reference(order).stat().st_mtime_ns == written


def test_the_converged_samples_themselves_have_none(start: Call) -> None:
    order = start()
    assert trial_context(order.run_dir).settings.reference_steps == 20, "at least"
    itself = Candidate(schedule=DensitySchedule.all_dense(8), sampling=Sampling(steps=20, solver="ab2"))
    order = replace(order, candidate=itself, baseline="itself", fine_tune=False)
    assert run_trial(order, nothing).measurements["paired_distance"].value == 0.0


def test_few_images_are_enough(start: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drifting, "MOST_IMAGES", 4)
    order = start(is_fresh=True)
    found = run_trial(order, nothing).measurements["paired_distance"]
    assert found.protocol["images"] == len(load_file(reference(order))["features"]) == 4


def test_it_can_be_left_out(start: Call) -> None:
    order = start(objectives={"quality": {"paired_distance": False}})
    assert "paired_distance" not in run_trial(order, nothing).measurements
    assert not list(trial_context(order.run_dir).shared.folder.glob("dense_features-*"))
