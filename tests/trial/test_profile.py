"""Profiles of real (tiny) models: made, kept, found again by what decides them, and used."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import VIDEO
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.sampling import Sampling

from flexsearch.config import parse_config
from flexsearch.errors import UserError
from flexsearch.objectives.composed_latency import LatencyProfile
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.macs import plan_macs
from flexsearch.trial.budget import check_budget, fastest_candidates
from flexsearch.trial.context import trial_context
from flexsearch.trial.contract import TrialOrder
from flexsearch.trial.foresight import predicted_infeasible
from flexsearch.trial.inputs import load_inputs
from flexsearch.trial.latency import latency_of
from flexsearch.trial.life import run_trial
from flexsearch.trial.prepare import prepare
from flexsearch.trial.profile import load_profile, save_profile, sparse_grids
from flexsearch.trial.profiling import make_profile
from flexsearch.trial.settings import TrialSettings

Config = Callable[..., dict[str, Any]]
SMALL = {"attention_head_dim": 8, "num_layers": 8, "sample_size": 8, "cross_attention_dim": 16}
LATTE = VIDEO | SMALL
PIXART = {key: value for key, value in LATTE.items() if key != "video_length"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def settings(tiny_config: Config) -> Callable[..., TrialSettings]:
    return lambda **changes: parse_config(tiny_config(**changes)).trial_settings


_made: dict[str, LatencyProfile] = {}


def made(settings: TrialSettings, *, others: tuple[Candidate, ...] = (), num_held_out: int = 3) -> LatencyProfile:
    """A profile of one round; tests with equal settings share one."""
    key = json.dumps([settings.to_dict(), [one.to_dict() for one in others], num_held_out])
    if key not in _made:
        _made[key] = make_profile(settings, others=others, rounds=1, num_held_out=num_held_out, report=lambda *_: None)
    return _made[key]


def test_a_profile_covers_its_space_and_what_else_is_asked(settings: Callable[..., TrialSettings]) -> None:
    tiny = settings()
    dense = Candidate(schedule=DensitySchedule.all_dense(8), sampling=Sampling(steps=4))
    found = made(tiny, others=(dense,))
    for candidate in [dense, *tiny.search_space.candidates(up_to=100)]:
        assert found.covers(candidate)
        assert found.predict(candidate) > 0
    assert len(found.held_out) == 3
    assert all(one.measured_ms > 0 and one.predicted_ms > 0 for one in found.held_out)
    assert found.error >= 0
    assert found.protocol["weights"] == "base"
    assert "1 thread" in found.protocol["device"]


def test_a_profile_is_found_again_by_what_decides_it(settings: Callable[..., TrialSettings]) -> None:
    tiny = settings()
    assert load_profile(tiny) is None
    found = made(tiny)
    save_profile(found, tiny)
    assert load_profile(tiny) == found
    assert load_profile(settings(trial={"updates": 9}, objectives={"latency": {"max_ms": 3.0}})) == found
    for other in (
        settings(objectives={"latency": {"batch": 4}}),
        settings(objectives={"latency": {"threads": 2}}),
        settings(sampling={"guidance": 2.0}),
        settings(sampling={"dtype": "bf16"}),
        settings(space={"sampler_steps": 3}),
        settings(space={"timetable": {"clean_grid": 5}}),
    ):
        assert load_profile(other) is None


def test_other_hardware_has_no_profile(settings: Callable[..., TrialSettings], monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = settings()
    save_profile(made(tiny), tiny)
    monkeypatch.setattr("flexsearch.objectives.latency.device_name", lambda _: "another machine")
    assert load_profile(tiny) is None


@pytest.mark.parametrize(("backbone", "config"), [("dit", None), ("pixart", PIXART), ("latte", LATTE)])
def test_a_base_that_is_not_here_is_timed_without_its_weights(
    settings: Callable[..., TrialSettings],
    tiny_transformer: dict[str, Any],
    backbone: str,
    config: dict[str, Any] | None,
) -> None:
    frames = {"frames": {"choice": [2, 4]}} if backbone == "latte" else {}
    absent = settings(
        base={
            "checkpoint": "./absent",
            "backbone": backbone,
            "config": config or {**tiny_transformer, "num_layers": 8},
        },
        space={"timetable": {"stages": 2, "clean_grid": 3, "noise_grid": 2, **frames}},
        objectives={"latency": {"batch": 1}},
        sampling={"guidance": 4.0},
    )
    found = made(absent, num_held_out=1)
    assert found.protocol["weights"] == "random"
    assert found.kendall_tau is None
    sparse = {(one.queries.frames, one.queries.height) for one in found.operations if one.kind == "sparse"}
    assert sparse == ({(2, 2), (2, 3), (4, 2), (4, 3)} if frames else {(1, 2), (1, 3)})
    assert len(sparse) == len(sparse_grids(absent.search_space))


def foreseeing(found: LatencyProfile, candidate: Candidate, *, at_ms: float, error: float) -> LatencyProfile:
    """The profile of a device on which `candidate` takes `at_ms`."""
    factor = at_ms / found.predict(candidate)
    return replace(
        found,
        operations=tuple(replace(one, ms=one.ms * factor) for one in found.operations),
        step_ms=found.step_ms * factor,
        image_ms=found.image_ms * factor,
        error=error,
    )


def test_only_what_is_clearly_above_the_limit_is_foreseen(settings: Callable[..., TrialSettings]) -> None:
    tiny = settings()
    candidate = tiny.search_space.candidates(up_to=100)[0]
    found = made(tiny)

    def reason(at_ms: float, *, reference_ms: float | None = None, max_ms: float | None = 10.0) -> str | None:
        profile = foreseeing(found, candidate, at_ms=at_ms, error=0.02)
        result = predicted_infeasible(candidate, profile, max_ms=max_ms, reference_ms=reference_ms)
        return None if result is None else result.reason

    assert reason(9.0) is None
    assert reason(10.5) is None  # within three times the error
    assert reason(11.0) == "a predicted 11 ms/image is above the limit of 10"
    assert reason(11.0, max_ms=None) is None
    assert reason(9.0, reference_ms=2 * found.reference_ms) is not None  # the device is half as fast now
    assert reason(11.0, reference_ms=found.reference_ms / 2) is None
    assert predicted_infeasible(candidate, None, max_ms=10.0, reference_ms=None) is None


def test_a_trial_that_is_foreseen_is_not_timed_and_a_baseline_is(
    settings: Callable[..., TrialSettings], tiny_config: Config, tmp_path: Path
) -> None:
    limited = {"objectives": {"latency": {"max_ms": 1e6}}, "trial": {"updates": 0}}
    tiny = settings(**limited)
    candidate = tiny.search_space.candidates(up_to=100)[0]
    save_profile(foreseeing(made(settings()), candidate, at_ms=2e6, error=0.02), tiny)
    run_dir = tmp_path / "run"
    parse_config(tiny_config(**limited)).save(run_dir)
    prepare(run_dir, tiny, seed=0, report=lambda *_: None)
    order = TrialOrder(number=0, candidate=candidate, run_dir=run_dir, seed=0)
    result = run_trial(order, lambda _: True)
    assert result.state == "infeasible"
    assert "predicted" in str(result.reason)
    assert set(result.measurements) == {"macs", "predicted_latency_ms"}
    assert set(result.constraints) == {"latency_limit_ms", "slower_than_dense"}
    assert result.constraints["latency_limit_ms"] == pytest.approx(1e6)
    assert result.curve == ()
    assert json.loads((order.trial_dir / "result.json").read_text())["state"] == "infeasible"
    context = trial_context(run_dir)
    baseline = latency_of(context.start, replace(order, number=1, baseline="FlexDiT paper"), context)
    assert baseline.state == "complete"
    assert baseline.measurements["latency_ms"].value > 0


def test_the_fastest_candidates_have_the_fewest_macs_and_different_schedules(
    settings: Callable[..., TrialSettings],
) -> None:
    tiny = settings()
    space, shape = tiny.search_space, tiny.shape
    found = fastest_candidates(space, shape, num=3)
    assert len({one.schedule.digest for one in found}) == 3
    cost = {one.schedule.digest: plan_macs(space.plan(one.schedule), shape) for one in space.candidates(up_to=1000)}
    assert [one.sampling.steps for one in found] == [1, 1, 1]
    assert [cost[one.schedule.digest] for one in found] == sorted(cost.values())[:3]


def test_with_a_profile_the_fastest_are_those_predicted(settings: Callable[..., TrialSettings]) -> None:
    tiny = settings()
    found = made(tiny)
    slow_sparse = replace(
        found, operations=tuple(replace(one, ms=100.0 if one.kind == "sparse" else 1.0) for one in found.operations)
    )
    space = tiny.search_space
    (fastest,) = fastest_candidates(space, tiny.shape, num=1, profile=slow_sparse)
    least = min(one.schedule.roles.count("sparse") for one in space.candidates(up_to=1000))
    assert fastest.schedule.roles.count("sparse") == least


def test_a_limit_out_of_reach_names_one_in_reach(settings: Callable[..., TrialSettings]) -> None:
    with pytest.raises(UserError, match="no schedule of the space is that fast") as caught:
        check_budget(settings(objectives={"latency": {"max_ms": 1e-6}}))
    assert caught.value.field == "objectives.latency.max_ms"
    check_budget(settings(objectives={"latency": {"max_ms": 50 * float(str(caught.value.nearest))}}))
    check_budget(settings())


def test_another_plan_on_the_same_weights(settings: Callable[..., TrialSettings]) -> None:
    tiny = settings()
    model, space = load_inputs(tiny).base.model, tiny.search_space
    schedule = space.candidates(up_to=100)[0].schedule
    noisy, time = torch.randn(1, *model.shape.sample_size), torch.tensor([700.0])
    labels = {"class_labels": torch.tensor([1])}
    twin = model.with_plan(space.plan(schedule))
    expected = model.clone()
    expected.set_schedule(schedule)
    with torch.inference_mode():
        assert torch.equal(twin(noisy, time, **labels).sample, expected(noisy, time, **labels).sample)
    assert model.schedule.is_dense
    assert model.plan().blocks("sparse") == ()
    assert next(twin.parameters()) is next(model.parameters())
