"""The chaos program's own judgement; `experiments/chaos/run.py` needs minutes."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from disturbances import KINDS, cut, draw
from ledger import Fault, differences, faults_of
from summary import keep


def trial(number: int, **changes: Any) -> dict[str, Any]:
    return {"state": "complete", "digest": f"d{number}", "baseline": None, "measured": {"fid": 1.0 + number}, **changes}


@pytest.fixture
def whole() -> dict[str, Any]:
    asked = {number: {"state": "COMPLETE", "digest": f"d{number}"} for number in range(3)}
    recorded = {0: trial(0, baseline="dense"), 1: trial(1), 2: trial(2, state="duplicate")}
    return {"wanted": 2, "asked": asked, "recorded": recorded}


def test_a_seed_replays() -> None:
    assert draw(3, 50, kinds=KINDS["ray"]) == draw(3, 50, kinds=KINDS["ray"]) != draw(4, 50, kinds=KINDS["ray"])
    assert {one.kind for one in draw(0, 200, kinds=KINDS["ray"])} == set(KINDS["ray"])


def test_a_ledger_without_a_fault(whole: dict[str, Any]) -> None:
    assert list(faults_of(whole)) == []
    other = deepcopy(whole)
    other["recorded"][1]["measured"]["fid"] *= 1 + 2**-21
    assert list(differences(whole, other)) == [], "sums in another order"


@pytest.mark.parametrize(
    ("table", "number", "change", "fault"),
    [
        ("asked", 1, {"state": "RUNNING"}, Fault("running", "trial 1 is RUNNING")),
        ("asked", 1, {"state": "WAITING"}, Fault("waiting", "trial 1 is WAITING")),
        ("recorded", 1, {"state": "running"}, Fault("running", "trial 1 is running")),
        ("recorded", 1, {"state": "failed"}, Fault("budget", "1 trials are finished, of 2")),
        ("recorded", 1, {"digest": "d0"}, Fault("twice", "a candidate is evaluated twice")),
        ("recorded", 1, {"baseline": "dense"}, Fault("twice", "a baseline is evaluated twice")),
    ],
)
def test_faults(whole: dict[str, Any], table: str, number: int, change: dict[str, Any], fault: Fault) -> None:
    disturbed = deepcopy(whole)
    disturbed[table][number] |= change
    assert fault in faults_of(disturbed)
    assert any(f"{table} {number}" in one for one in differences(whole, disturbed))


def test_what_is_lost_and_what_is_new(whole: dict[str, Any]) -> None:
    disturbed = deepcopy(whole)
    disturbed["recorded"][7] = disturbed["recorded"].pop(1)
    assert {"recorded 1: lost", "recorded 7: new"} <= set(differences(whole, disturbed))
    assert Fault("lost", "trial 1 is in one of the two alone") in faults_of(disturbed)


def test_a_cut_leaves_a_share_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"kept")
    (tmp_path / "result.json").write_bytes(b"x" * 10)
    (one,) = draw(0, 1, kinds={"cut": 1})
    left = int(10 * one.size)
    assert cut(tmp_path, one) == {"file": "result.json", "bytes": left}
    assert (tmp_path / "result.json").stat().st_size == left
    assert (tmp_path / "study.db").read_bytes() == b"kept"


def test_a_run_has_one_row(tmp_path: Path) -> None:
    table = tmp_path / "chaos.csv"
    for seed, lost in ((1, 0), (2, 3), (1, 4)):
        keep({"seed": seed, "executor": "ray", "storage": "sqlite", "lost": lost}, table)
    assert table.read_text() == "seed,executor,storage,lost\n2,ray,sqlite,3\n1,ray,sqlite,4\n"
