"""The GPU run: its walk over stages with a fake clock, what its `blocks` measure, and a rehearsal of it all."""

import csv
import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
GPU = ROOT / "experiments" / "gpu"
RESULTS = ["blocks.csv", "blocks.png", "free.png", "fronts.csv", "log.md", "profile.csv", "profile.png", "search.png"]
STAGES = ("check", "blocks", "search", "profile", "cached", "free")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(GPU))
    spec = importlib.util.spec_from_file_location("gpu_run", GPU / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_walk_keeps_to_its_minutes(run: ModuleType, tmp_path: Path) -> None:
    from stages.box import Box, Entry

    clock, boxes, log = [100.0], {}, tmp_path / "log.md"
    takes = {"quick": 5.0, "raises": 20.0, "late": 60.0, "tight": 0.0, "last": 10.0}
    least = {"tight": 30.0}

    def execute(name: str, box: Box) -> Entry:
        boxes[name] = box.seconds
        if name == "late":  # what ended before is on the disk while the next one runs
            assert "quick found it" in log.read_text()
            assert "its reason" in log.read_text()
        clock[0] += takes[name]
        if name == "raises":
            raise run.Failed("a traceback\nits reason")
        (box.out / f"{name}.csv").write_text("x\n")
        return Entry(lines=[f"{name} line {index}" for index in range(30)], log=f"{name} found it")

    def box_of(seconds: float) -> Box:
        folders = {"out": tmp_path, "scratch": tmp_path}
        return Box(seconds=seconds, device="cpu", is_toy=True, options={}, begun=clock[0], **folders)

    stages = [run.Stage(name=name, seconds=20, least=least.get(name, 5)) for name in takes]
    summary = run.walk(stages, execute, box_of=box_of, ends_at=200.0, now=lambda: clock[0], heading="A test.")
    assert boxes == {
        "quick": 100 / 5,
        "raises": 95 / 4,  # what the first one left goes to all that follow
        "late": 75 / 3,
        "last": 15,  # what is left after one that took too long, and after one that was skipped
    }
    text = "\n".join(summary)
    assert "quick: 5 of 20 s" in text
    assert "raises: FAILED after 20 of 24 s" in text
    assert "tight: skipped: 8 s are left for it, and it needs 30 s" in text
    assert len(summary) <= run.SUMMARY_LINES
    assert [line for line in log.read_text().splitlines() if line.startswith("## ")] == [
        line for line in log.read_text().splitlines() if any(f": {name} on a GPU" in line for name in takes)
    ]
    assert log.read_text().count("\n## ") == len(takes)
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["last.csv", "late.csv", "quick.csv"]


def test_a_box_cuts_what_runs_in_it(run: ModuleType, tmp_path: Path) -> None:
    import time

    from stages.box import Box

    folders = {"out": tmp_path, "scratch": tmp_path}
    box = Box(seconds=1.0, device="cpu", is_toy=True, options={}, begun=time.monotonic(), **folders)
    reached = []
    with box.until():
        reached.append("in")
        time.sleep(600)
        reached.append("too far")
    assert reached == ["in"]
    assert box.left < 0.01


@pytest.mark.parametrize("name", ["dit_b_256", "dit_xl_256", "dit_xl_512", "pixart_256", "latte_512"])
def test_blocks_compare_with_what_multiply_accumulates_allow(run: ModuleType, name: str) -> None:
    import torch
    from stages.blocks import Bench, measure
    from stages.models import SUBJECTS, small

    subject = small(SUBJECTS[name])
    bench = Bench(subject, subject.base(device=torch.device("cpu"), dtype=torch.float32), batch=2)
    rows = measure(bench, bench.variants, mode="eager", share_s=0.0, rates=(1e12, 1e12))
    found = {row["variant"]: row for row in rows}
    assert {"diffusers", "cached span", "cached modules", "one row", "gain", "solver ab2"} <= set(found)
    assert {"all pool, pool", "all merge, sparse", "all merge, recover", "all merge, merge"} <= set(found)
    dense = found["dense"]
    for row in rows:
        assert row["of_allowed"] == pytest.approx(row["speedup"] / row["allowed"])
        assert row["floor_ms"] == pytest.approx(row["gmacs"] * 2 / 1e12 * 1e9 * 1000)
        assert row["allowed"] == pytest.approx(dense["gmacs"] / row["gmacs"] if row["gmacs"] else math.inf)
    assert dense["speedup"] == found["diffusers"]["allowed"] == found["gain"]["allowed"] == 1
    assert found["one row"]["allowed"] == pytest.approx(4 / 3, rel=1e-6)
    assert found["flexdit_scaled"]["allowed"] > 1.2
    assert found["cached span"]["allowed"] > 1.5


@pytest.mark.parametrize("name", ["flux_dev", "wan_1_3b"])
def test_a_reusing_step_is_compared_with_a_dense_one(run: ModuleType, name: str) -> None:
    import torch
    from stages.blocks import Bench, measure
    from stages.cached import NAMES, REUSING, variants_of
    from stages.models import LARGE, small

    subject = small(LARGE[name])
    bench = Bench(subject, subject.base(device=torch.device("cpu"), dtype=torch.float32), batch=1, names=NAMES)
    found = {
        row["variant"]: row for row in measure(bench, variants_of(bench), mode="eager", share_s=0.0, rates=(1e12, 1e12))
    }
    assert list(found)[0::5] == ["dense", "diffusers"]
    for pattern in ("cached span", "cached modules"):
        alone, both = found[pattern + REUSING], found[pattern]
        assert both["gmacs"] == pytest.approx((found["dense"]["gmacs"] + alone["gmacs"]) / 2)
        assert 1 < both["allowed"] < 2 < alone["allowed"]
    assert found["diffusers"]["allowed"] == 1


def test_the_large_models_have_their_publishers_sizes(run: ModuleType) -> None:
    from stages.models import LARGE

    assert {name: one.shape.grid.num_tokens for name, one in LARGE.items()} == {"flux_dev": 4096, "wan_1_3b": 32_760}


@pytest.mark.slow
def test_the_rehearsal(tmp_path: Path) -> None:
    command = [sys.executable, str(GPU / "run.py"), "--toy", "--device", "cpu", "--out", str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=540)
    assert "FAILED" not in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == RESULTS
    log = (tmp_path / "log.md").read_text()
    assert [log.count(f": {name} on a GPU (") for name in STAGES] == [1] * len(STAGES)
    with (tmp_path / "fronts.csv").open() as file:
        assert {row["study"] for row in csv.DictReader(file)} == {"search", "free"}


@pytest.mark.slow
def test_it_needs_neither_ray_nor_a_dashboard() -> None:
    stages = [f"stages.{name}" for name in STAGES]
    code = f"import sys, json, {', '.join(stages)}; print(json.dumps(list(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=GPU, check=True, capture_output=True, text=True, timeout=240
    )
    assert not {"ray", "optuna_dashboard"} & set(json.loads(found.stdout))
