"""The benchmark scripts run from one end to the other, on small sizes: what they measure there means nothing."""

import csv
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import run_script

ROOT = Path(__file__).parents[1]


def test_latency_profile(
    tmp_path: Path,
    tiny_config: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    space = tmp_path / "tiny.yaml"
    space.write_text(yaml.safe_dump(tiny_config()))
    script = ROOT / "experiments" / "latency_profile" / "run.py"
    run_script(monkeypatch, script, "--rounds", 1, "--space", space, "--held-out", 5, "--out", tmp_path)
    printed = capsys.readouterr().out
    with (tmp_path / "held_out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({(row["schedule"], row["sampler_steps"]) for row in rows}) == 5
    for name, column in (("sum of operation times", "composed_ms"), ("multiply-accumulates", "from_macs_ms")):
        errors = [abs(float(row[column]) / float(row["measured_ms"]) - 1) for row in rows]
        told = re.search(rf"^{name}: median error ([\d.]+)%, worst ([\d.]+)%", printed, re.MULTILINE)
        assert told is not None
        assert [float(value) for value in told.groups()] == pytest.approx(
            [100 * statistics.median(errors), 100 * max(errors)], abs=0.06
        )
    assert len(json.loads((tmp_path / "profile.json").read_text())["held_out"]) == 5
