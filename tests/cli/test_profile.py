"""`profile`, and what the other commands make of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from builders import Call

from flexsearch.cli.profile import print_profile
from flexsearch.latency.profile import LatencyProfile
from flexsearch.trial.profiles import make_profile


def test_plan_predicts_latency_where_there_is_a_sound_profile(
    flexsearch: Call, tiny_space: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How well one round predicts a tiny model is left to the machine, so the bounds are set from within. It is timed
    once, and refused before it is taken."""
    space = tiny_space(objectives={"latency": {"batch": 1}})
    monkeypatch.setattr("flexsearch.latency.profile.WORST_ERROR", -1.0)
    made: list[LatencyProfile] = []

    def make_once(*arguments: Any, **options: Any) -> LatencyProfile:
        made.extend([] if made else [make_profile(*arguments, **options)])
        return made[0]

    monkeypatch.setattr("flexsearch.trial.profiles.make_profile", make_once)
    outcome = flexsearch("profile", space, "--rounds", 1)
    assert outcome.code == 2
    assert "error: --rounds 1: the profile is not kept: it predicts 12 schedules outside the fit" in outcome.err
    assert "round 1 of 1" in outcome.err
    monkeypatch.setattr("flexsearch.latency.profile.WORST_ERROR", float("inf"))
    monkeypatch.setattr("flexsearch.latency.profile.LEAST_TAU", -1.0)
    before = json.loads(flexsearch("plan", space, "--json").out)
    assert "profile" not in before
    assert all("latency_ms" not in row for row in before["baselines"])
    outcome = flexsearch("profile", space, "--rounds", 1, "--json")
    assert outcome.code == 0
    profiled = json.loads(outcome.out)
    assert {"operations", "step_ms", "image_ms", "error", "kendall_tau", "held_out", "protocol", "plateaus"} <= set(
        profiled
    )
    assert Path(profiled["file"]).exists()
    assert len(profiled["held_out"]) == 12
    print_profile(profiled)
    printed = capsys.readouterr().out
    for part in ("operation", "sparse", "recover", "step", "median error", "kept in"):
        assert part in printed
    after = json.loads(flexsearch("plan", space, "--json").out)
    assert after["profile"]["error"] == profiled["error"]
    for row, old in zip(after["baselines"], before["baselines"], strict=True):
        assert row["latency_ms"]["value"] > 0
        assert row["latency_ms"]["error"] == pytest.approx(row["latency_ms"]["value"] * profiled["error"])
        assert old.items() <= row.items()
    page = flexsearch("plan", space).out
    assert "(predicted)" in page
    assert "12 schedules outside the fit" in " ".join(page.split())


def test_a_budget_out_of_reach_is_told_at_once(flexsearch: Call, tiny_space: Call, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    common = ("run", tiny_space(), "--run-dir", run_dir, "--executor", "local")
    outcome = flexsearch(*common, "--set", "objectives.latency.max_ms=0.000001")
    assert outcome.code == 2
    line = outcome.err.splitlines()[-1]
    assert line.startswith("error: objectives.latency.max_ms: no schedule of the space is that fast")
    assert "but got 1e-06; nearest legal: " in line
    assert not run_dir.exists()
    assert not (tmp_path / "cache" / "flexsearch" / "warm_starts").exists()


def test_a_resumed_run_does_not_check_its_budget_again(
    flexsearch: Call, tiny_space: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[object] = []

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("flexsearch.trial.timing.check_budget", checked.append)
    monkeypatch.setattr("flexsearch.study.run._prepare", interrupted)
    limited, free = (
        ("run", tiny_space(), "--run-dir", tmp_path / name, "--executor", "local") for name in ("run", "free")
    )
    limit = ("--set", "objectives.latency.max_ms=1000000")
    for _ in range(2):
        outcome = flexsearch(*limited, *limit)
        assert outcome.code == 130
        assert "the same command goes on" in outcome.err
        assert "Traceback" not in outcome.err
    assert len(checked) == 1
    assert flexsearch(*free).code == 130
    assert len(checked) == 1  # no limit, nothing to check
