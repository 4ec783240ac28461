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
