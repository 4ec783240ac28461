"""What a trial leaves: taken only whole, and only by the trial that it belongs to."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import POOLED

from flexsearch.measurement import Measurement
from flexsearch.schedule import Candidate, Sampling
from flexsearch.trial.clock import Meter
from flexsearch.trial.contract import TrialOrder, TrialResult
from flexsearch.trial.result_file import RESULT, lost_seconds, read_result, write_result, write_seconds


@pytest.fixture
def order(tmp_path: Path) -> TrialOrder:
    candidate = Candidate(schedule=POOLED, sampling=Sampling(steps=2))
    return TrialOrder(number=5, candidate=candidate, run_dir=tmp_path, seed=1, study="first")


@pytest.fixture
def result() -> TrialResult:
    return TrialResult(state="complete", measurements={"fid": Measurement(name="fid", value=1.0, unit="1")})


def test_a_result_is_read_by_its_own_trial_alone(order: TrialOrder, result: TrialResult) -> None:
    assert read_result(order) is None
    write_result(order, result)
    assert read_result(order) == result
    other = replace(order.candidate, sampling=Sampling(steps=3))
    for stranger in (replace(order, study="second"), replace(order, seed=2), replace(order, candidate=other)):
        assert read_result(stranger) is None


def without(name: str) -> Any:
    return lambda values: {key: value for key, value in values.items() if key != name}


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda values: json.dumps(values)[:40],
        lambda _: "null",
        lambda _: "[]",
        lambda _: "\0" * 300,
        without("of"),
        without("curve"),
        without("state"),
        lambda values: {**values, "more": 1},
        lambda values: {**values, "state": "unheard of"},
        lambda values: {**values, "measurements": [1]},
        lambda values: {**values, "curve": [[1]]},
        lambda values: {**values, "rungs": None},
        lambda _: "[" * 100_000,
        lambda values: {**values, "reason": "another one"},
        lambda values: {**values, "measurements": {}},
        lambda values: {**values, "measurements": {"fid": {**values["measurements"]["fid"], "value": None}}},
    ],
)
def test_a_damaged_result_is_none(order: TrialOrder, result: TrialResult, damage: Any) -> None:
    write_result(order, result)
    path = order.trial_dir / RESULT
    left = damage(json.loads(path.read_text()))
    path.write_text(left if isinstance(left, str) else json.dumps(left))
    assert read_result(order) is None


def test_what_a_kill_cut_short_is_counted(order: TrialOrder, result: TrialResult) -> None:
    assert lost_seconds(order) == 0
    with (
        pytest.raises(KeyboardInterrupt),
        Meter(lost_seconds(order), save=lambda seconds: write_seconds(order, seconds + 10)),
    ):
        raise KeyboardInterrupt
    assert lost_seconds(order) >= 10
    assert lost_seconds(replace(order, study="second")) == 0
    write_result(order, result)
    assert lost_seconds(order) == 0, "it is in the result"
