"""The benchmark scripts run from one end to the other, on small sizes: what they measure there means nothing."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    for row in rows:
        assert float(row["seconds"]) > 0
        assert float(row["samples_per_s"]) == pytest.approx(int(row["batch"]) / float(row["seconds"]) / 250, rel=1e-3)
        assert int(row["rows"]) == 2 * int(row["batch"])  # guidance
        dense = row["schedule"] == "dense"
        assert float(row["allowed"]) == 1.0 if dense else float(row["allowed"]) > 1.2
    assert json.loads((tmp_path / "machine.json").read_text())["small"] is True
    assert (tmp_path / "throughput.png").stat().st_size > 1000
