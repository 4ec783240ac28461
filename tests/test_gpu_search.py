"""The search on a GPU, without one: its arithmetic, its sittings, what it throws away, and (slow) all of it, small."""

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flexsearch.cli.results import open_run
from flexsearch.errors import UserError

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "experiments" / "gpu_search"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports one of the experiment's files, which import each other by name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def import_(name: str) -> ModuleType:
        return __import__(name)

    return import_


@pytest.fixture
def answered(script: Callable[[str], ModuleType]) -> Callable[..., Any]:
    """The answer from (name, kind, quality, latency) rows, plus noise that all candidates share and a little own."""

    def answer(rows: list[tuple[str, str | None, float, float]], *, seeds: int = 6, own: float = 0.05) -> Any:
        evidence, generator = script("evidence"), np.random.default_rng(0)
        shared = generator.normal(0, 5.0, seeds)
        candidates = tuple(
            evidence.Candidate(
                trial=number,
                name=name,
                schedule="D",
                sampling=Sampling(steps=number + 1),
                baseline=kind,
                quality=quality + shared + generator.normal(0, own, seeds),
                latency_ms=np.full(seeds, latency),
            )
            for number, (name, kind, quality, latency) in enumerate(rows)
        )
        found = evidence.Evidence(
            candidates=candidates,
            objective="fid",
            images=10,
            seeds=tuple(range(seeds)),
            is_confirmed=seeds > 1,
            facts={},
        )
        return script("answer").answer(found)

    return answer


ROWS = [
    ("dense, 1 steps", "dense", 30.0, 1.0),
    ("dense", "dense", 10.0, 3.0),
    ("FlexDiT paper", "paper", 18.0, 2.0),
    ("ahead", None, 17.0, 2.0),  # the dense curve is at 20 there
    ("behind", None, 12.0, 2.9),  # and at 11 here
    ("fastest", None, 50.0, 0.5),
    ("slowest", None, 9.0, 9.0),
]


def test_gains_are_paired_differences_at_equal_latency(answered: Callable[..., Any]) -> None:
    """Seeds move everybody by 5; what is left of that in a gain is nothing."""
    gains = answered(ROWS).gains["dense"]
    assert gains[3].value == pytest.approx(3.0, abs=0.1)
    assert gains[4].value == pytest.approx(-1.0, abs=0.1)
    assert gains[5] is None  # nothing dense is as fast
    assert gains[6].value == pytest.approx(1.0, abs=0.1)  # against the slowest dense point
    assert all(gain.low < gain.value < gain.high and gain.high - gain.low < 0.5 for gain in gains.values() if gain)
    assert [gains[trial].is_sure for trial in (3, 4, 6)] == [True, False, True]


def test_who_dominates_a_measured_point_is_no_slower(answered: Callable[..., Any]) -> None:
    found = {one.baseline.name: one for one in answered(ROWS).dominated}
    assert found["FlexDiT paper"].by.name == "ahead"
    assert found["FlexDiT paper"].gain.value == pytest.approx(1.0, abs=0.1)
    assert found["dense, 1 steps"].by.name == "fastest"
    assert not found["dense, 1 steps"].gain.is_sure
    assert found["dense"].by.name == "behind"  # the best of those that are as fast, even if it is worse


def test_one_seed_gives_no_interval(answered: Callable[..., Any]) -> None:
    gain = answered(ROWS, seeds=1).gains["dense"][3]
    assert (gain.low, gain.high, gain.is_sure) == (None, None, False)


def test_a_family_of_comparisons_is_wrong_in_one_of_twenty_cases(script: Callable[[str], ModuleType]) -> None:
    generator, gain_of = np.random.default_rng(0), script("answer").gain_of
    families = generator.normal(0, 1, (1000, 10, 5))  # nobody is better
    wrong = sum(any(gain_of(one, num_compared=10).is_sure for one in family) for family in families)
    assert wrong < 50


def test_the_files_say_that_a_smoke_test_means_nothing(
    answered: Callable[..., Any], script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    counts = {"complete": 7, "failed": 0}
    script("results").write_results(
        answered(ROWS), tmp_path, device_s={"base": 60.0, "search": 90.0}, counts=counts, device="a GPU", small=True
    )
    content = json.loads((tmp_path / "answer.json").read_text())
    assert (content["smoke_test"], content["cost"]["total_s"]) == (True, 150.0)
    assert content["curves"]["dense"] == {"searched_candidates": 4, "ahead_for_sure": 2, "most_ahead": 3}
    entry = (tmp_path / "log_entry.md").read_text()
    assert "SMOKE TEST" in entry
    assert "2.5 device minutes in all" in entry
    table = pd.read_csv(tmp_path / "front.csv")
    assert list(table["latency_ms"]) == sorted(one[3] for one in ROWS)
    assert (tmp_path / "front.png").stat().st_size > 1000


PATIENT = """
import sys, time
try:
    print("ready", flush=True)
    open("begun", "w").close()
    time.sleep(60)
except KeyboardInterrupt:
    open("saved", "w").close()
    sys.exit(130)
"""


@pytest.fixture
def sit(script: Callable[[str], ModuleType], tmp_path: Path) -> Callable[..., Any]:
    def sitting(seconds: float, *, device: str = "a GPU") -> Any:
        begun = time.monotonic()
        return script("sitting").Sitting(
            number=1, begun_at=begun, ends_at=begun + seconds, device=device, folder=tmp_path, environment={}
        )

    return sitting


def test_a_sitting_ends_in_time_and_everything_is_counted(
    script: Callable[[str], ModuleType], sit: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "ledger.csv"
    ledger = script("sitting").Ledger(path)
    assert not sit(3.0).run("base", [sys.executable, "-c", PATIENT], ledger)
    assert (tmp_path / "saved").exists()
    assert [entry.outcome for entry in ledger.entries] == ["interrupted"]
    assert 3 <= ledger.seconds()["base"] < 40
    assert sit(60).run("base", [sys.executable, "-c", "pass"], ledger)
    again = script("sitting").Ledger(path)
    assert again.entries == ledger.entries
    assert again.is_done("base")
    assert not sit(-1.0).run("search", [sys.executable, "-c", "pass"], ledger)
    assert not ledger.is_done("search")


def test_what_is_between_commands_counts_once(
    script: Callable[[str], ModuleType], sit: Callable[..., Any], tmp_path: Path
) -> None:
    ledger, sitting = script("sitting").Ledger(tmp_path / "ledger.csv"), sit(60)
    sitting.run("base", [sys.executable, "-c", "pass"], ledger)
    sitting.count_the_rest(ledger)
    time.sleep(0.5)
    sitting.count_the_rest(ledger)
    assert sum(ledger.seconds().values()) == pytest.approx(time.monotonic() - sitting.begun_at, abs=0.3)


def test_failures_and_other_devices_end_it(
    script: Callable[[str], ModuleType], sit: Callable[..., Any], tmp_path: Path
) -> None:
    ledger = script("sitting").Ledger(tmp_path / "ledger.csv")
    with pytest.raises(UserError, match="exit status 3"):
        sit(60).run("base", [sys.executable, "-c", "raise SystemExit(3)"], ledger)
    assert [entry.outcome for entry in ledger.entries] == ["failed"]
    with pytest.raises(UserError, match="measured on 'a GPU', but this is 'another'"):
        sit(60, device="another").run("base", [sys.executable, "-c", "pass"], ledger)


def test_only_who_cannot_come_back_is_thrown_away(script: Callable[[str], ModuleType]) -> None:
    """A little behind at its latency stays; far behind somebody who is no slower goes; slow and good stays."""
    values = {"front": (10.0, 2.0), "dense": (40.0, 1.0), "near": (11.0, 2.1), "far": (15.0, 2.0), "fast": (30.0, 1.5)}
    front = SimpleNamespace(
        points=("front",), baselines=("dense",), others=("near", "far", "fast"), values=values.__getitem__
    )
    assert script("state").hopeless(front) == ["far"]


@pytest.fixture
def packed_images(script: Callable[[str], ModuleType], tmp_path: Path) -> Path:
    """Fashion-MNIST's four files with a few random images."""
    generator, folder = np.random.default_rng(0), tmp_path / "packed"
    folder.mkdir()
    for name in script("state").FILES:
        shape = (64, 28, 28) if "images" in name else (64,)
        values = generator.integers(0, 256 if "images" in name else 10, shape, dtype=np.uint8)
        header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
        (folder / f"{name}.gz").write_bytes(gzip.compress(header + values.tobytes()))
    return folder


def test_images_are_unpacked_to_where_they_are_read(
    script: Callable[[str], ModuleType], packed_images: Path, tmp_path: Path
) -> None:
    from flexsearch.data.fashion_mnist import load_fashion_mnist

    state = tmp_path / "state"
    script("state").unpack_images(packed_images, state)
    assert len(load_fashion_mnist(state / "data", split="train", size=32)) == 64
    script("state").prune(state, None, images_come_again=True)
    assert not (state / "data").exists()
    with pytest.raises(UserError, match=r"has no train-images-idx3-ubyte\.gz"):
        script("state").unpack_images(tmp_path, tmp_path / "other")


@pytest.mark.slow
def test_the_whole_way_in_sittings(packed_images: Path, tmp_path: Path) -> None:
    """Every sitting finds the state in another place; the last one answers."""
    for sitting in range(1, 40):
        state = tmp_path / f"state{sitting}"
        command = [sys.executable, str(SCRIPTS / "run.py"), "--smoke", "--images", str(packed_images)]
        command += ["--state", str(state), "--sitting-minutes", "0.7" if sitting <= 3 else "60"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
        assert done.returncode in (0, 130), done.stderr
        if done.returncode == 0:
            break
        state.rename(tmp_path / f"state{sitting + 1}")
    content = json.loads((state / "results" / "answer.json").read_text())
    assert content["smoke_test"] is True
    trials = content["cost"]["trials"]
    assert trials["complete"] + trials["pruned"] == sum(trials.values()) == 7
    assert trials["complete"] >= 5, "four baselines and one that was searched at least"
    reached = {one.number: one.rung(0) for one in open_run(state / "run").store.trials() if one.baseline is None}
    assert len(reached) == 3
    assert all(rung is not None and rung.paired_distance is not None for rung in reached.values()), (
        "only the rung stops trials"
    )
    assert set(content["cost"]["seconds"]) == {"base", "search", "confirm", "around"}
    assert content["confirmed"] is True
    assert len(content["seeds"]) == 2
    assert {one["baseline"] for one in content["candidates"]} >= {"dense", "paper"}
    assert not list(state.rglob("*.checkpoint"))
