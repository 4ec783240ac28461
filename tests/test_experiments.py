"""The benchmark scripts run from one end to the other, on small sizes: what they measure there means nothing."""

import csv
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
MODELS = ("dit_b_256", "dit_xl_256", "dit_xl_512", "pixart_256", "latte_512")


def test_throughput(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "experiments" / "throughput" / "run.py"), "--small", "--device", "cpu"]
    command += ["--dtype", "fp32", "--repeats", "1", "--loop-steps", "4", "--compile", "none"]
    subprocess.run([*command, "--out", str(tmp_path)], check=True, capture_output=True, timeout=240)
    with (tmp_path / "throughput.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["implementation"], row["schedule"]) for row in rows] == [
        (model, *variant)
        for model in MODELS
        for variant in (("diffusers", "dense"), ("flexsearch", "dense"), ("flexsearch", "flexdit_scaled"))
    ]
    ours = {
        (row["model"], row["schedule"]): float(row["seconds"]) for row in rows if row["implementation"] != "diffusers"
    }
    for row in rows:
        assert float(row["speedup"]) == pytest.approx(ours[row["model"], "dense"] / float(row["seconds"]), rel=1e-3)
        assert float(row["samples_per_s"]) == pytest.approx(int(row["batch"]) / float(row["seconds"]) / 250, rel=1e-3)
        assert int(row["rows"]) == 2 * int(row["batch"])  # guidance
        dense = row["schedule"] == "dense"
        assert float(row["allowed"]) == 1.0 if dense else float(row["allowed"]) > 1.2
    assert json.loads((tmp_path / "machine.json").read_text())["small"] is True


def test_latency_profile(tmp_path: Path, tiny_config: Callable[..., dict[str, Any]]) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_config()))
    command = [sys.executable, str(ROOT / "experiments" / "latency_profile" / "run.py"), "--rounds", "1"]
    command += ["--space", str(tmp_path / "tiny.yaml"), "--held-out", "5", "--out", str(tmp_path)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=240)
    with (tmp_path / "held_out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({(row["schedule"], row["sampler_steps"]) for row in rows}) == 5
    for name, column in (("sum of operation times", "composed_ms"), ("multiply-accumulates", "from_macs_ms")):
        errors = [abs(float(row[column]) / float(row["measured_ms"]) - 1) for row in rows]
        told = re.search(rf"^{name}: median error ([\d.]+)%, worst ([\d.]+)%", found.stdout, re.MULTILINE)
        assert told is not None
        assert [float(value) for value in told.groups()] == pytest.approx(
            [100 * statistics.median(errors), 100 * max(errors)], abs=0.06
        )
    assert len(json.loads((tmp_path / "profile.json").read_text())["held_out"]) == 5
