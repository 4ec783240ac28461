"""Profiles of real (tiny) models: made, kept, and found again by what decides them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from builders import TEXT, VIDEO, Call

from flexsearch.latency.cache import sparse_timetables
from flexsearch.latency.design import dense_plan
from flexsearch.latency.profile import LatencyProfile
from flexsearch.schedule import Candidate, Sampling
from flexsearch.schedule.families.sdtm import SPARSE
from flexsearch.trial.profiles import load_profile, make_profile, save_profile
from flexsearch.trial.settings import TrialSettings

pytestmark = pytest.mark.usefixtures("own_cache")
SMALL = {"num_layers": 8, "sample_size": 8}
ONE_IMAGE = {"latency": {"batch": 1}}
_made: dict[str, LatencyProfile] = {}


def made(settings: TrialSettings, *, others: tuple[Candidate, ...] = (), num_held_out: int = 3) -> LatencyProfile:
    """A profile of one round; tests with equal settings share one."""
    key = json.dumps([settings.to_dict(), [one.to_dict() for one in others], num_held_out])
    if key not in _made:
        _made[key] = make_profile(settings, others=others, rounds=1, num_held_out=num_held_out, report=lambda *_: None)
    return _made[key]


def test_a_profile_covers_its_space_and_what_else_is_asked(settings: Call) -> None:
    tiny = settings(objectives=ONE_IMAGE)
    dense = dense_plan(tiny.search_space.target, Sampling(steps=4))
    found = made(tiny, others=(dense.candidate,))
    for plan in [dense, *map(tiny.search_space.plan, tiny.search_space.candidates(up_to=100))]:
        assert found.covers(plan)
        assert found.predict(plan) > 0
    assert len(found.held_out) == 3
    assert all(one.measured_ms > 0 and one.predicted_ms > 0 for one in found.held_out)
    assert found.error >= 0
    assert found.protocol["weights"] == "base"
    assert "1 thread" in found.protocol["device"]


def test_a_profile_covers_solvers_reuse_and_guidance_rows(settings: Call, tiny_transformer: dict[str, Any]) -> None:
    cache = {"full": 0.5, "nulls": {"choice": [0, 1]}, "reuse": {"choice": ["span", "modules"]}}
    searched = settings(
        base={"checkpoint": "./absent", "config": {**tiny_transformer, "num_layers": 8}},
        space={
            "sampler_steps": 4,
            "solver": {"choice": ["base", "ab2"]},
            "cache": cache,
            "guidance": {"to": {"choice": [0.6, 1.0]}},
            "timetable": {"clean_grid": 3, "noise_grid": 3},
        },
        sampling={"guidance": 2.0},
        objectives=ONE_IMAGE,
    )
    found, space = made(searched), searched.search_space
    plans = [space.plan(one) for one in space.candidates(up_to=100)]
    assert {step.letter for plan in plans for step in plan.steps} == {"F", "p", "n"}
    assert all(map(found.covers, plans))
    assert {one.term.kind for one in found.others} == {
        "call",
        "operation",
        "null step",
        "reused residual",
        "left residual",
        "reused operation",
        "left module outputs",
        "solver",
    }
    assert all(one.ms >= 0 for one in found.others)


def test_a_profile_is_found_again_by_what_decides_it(settings: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = settings(objectives=ONE_IMAGE)
    assert load_profile(tiny) is None
    found = replace(made(tiny), error=0.01, kendall_tau=1.0)  # as on a quiet machine: others are not kept
    save_profile(found, tiny)
    assert load_profile(tiny) == found
    for same in (
        settings(trial={"updates": 9}, objectives={"latency": {"batch": 1, "max_ms": 3.0}}),
        settings(
            objectives=ONE_IMAGE, space={"sampler_steps": 3, "solver": "base", "gain": {"skip": {"choice": [0.9, 1]}}}
        ),
    ):
        assert load_profile(same) == found
    for other in (
        settings(objectives={"latency": {"batch": 4}}),
        settings(objectives={"latency": {"batch": 1, "threads": 2}}),
        settings(objectives=ONE_IMAGE, sampling={"guidance": 2.0}),
        settings(objectives=ONE_IMAGE, sampling={"dtype": "bf16"}),
        settings(objectives=ONE_IMAGE, space={"timetable": {"clean_grid": 5}}),
        settings(objectives=ONE_IMAGE, space={"segments": [{"family": "sdtm", "sparse": "rest"}]}),
        settings(objectives=ONE_IMAGE, space={"solver": {"choice": ["base", "ab2"]}}),
        settings(objectives=ONE_IMAGE, space={"cache": {"full": 0.5}}),
    ):
        assert load_profile(other) is None
    monkeypatch.setattr("flexsearch.latency.hardware.device_name", lambda _: "another machine")
    assert load_profile(tiny) is None


@pytest.mark.parametrize(("backbone", "config"), [("dit", None), ("pixart", TEXT | SMALL), ("latte", VIDEO | SMALL)])
def test_a_base_that_is_not_here_is_timed_without_its_weights(
    settings: Call,
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
        objectives=ONE_IMAGE,
        sampling={"guidance": 4.0},
    )
    found = made(absent, num_held_out=1)
    assert found.protocol["weights"] == "random"
    assert found.kendall_tau is None
    sparse = {(one.queries.frames, one.queries.height) for one in found.operations if one.role == SPARSE.name}
    assert sparse == ({(2, 2), (2, 3), (4, 2), (4, 3)} if frames else {(1, 2), (1, 3)})
    assert len(sparse) == len(sparse_timetables(absent.search_space)) == len(found.sparse_call_ms())
