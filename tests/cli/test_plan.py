"""`plan`, `--help` and what documentation promises."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from builders import Call

from flexsearch.cli.plan import plan_of
from flexsearch.config import parse_config
from flexsearch.schedule.presets import PRESETS

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "diffusers", "ray", "optuna", "sqlalchemy", "pandas", "numpy", "scipy", "moocore"}


def test_the_contract_of_plan_json(flexsearch: Call) -> None:
    outcome = flexsearch("plan", ROOT / "search_spaces" / "dit_xl.yaml", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 0
    assert set(found) == {"name", "backbone", "dense", "space", "macs_ratio_range", "baselines"}
    assert found["dense"]["steps"] == 100
    assert found["dense"]["macs"] / 1e9 / (100 * 2) == pytest.approx(118.6, abs=0.05)  # steps, rows of guidance
    assert found["dense"]["tokens"] == 256
    assert found["space"]["size"] == 3 * 3 * 3 * 4 * 3 * 3 * 3
    assert {"name", "macs", "macs_ratio", "params", "digest"} <= set(found["baselines"][0])
    baselines = {row["name"]: row for row in found["baselines"]}
    paper = baselines["FlexDiT paper"]
    assert paper["macs_ratio"] == pytest.approx(0.55, abs=0.01)
    assert paper["macs"] / found["dense"]["macs"] == paper["macs_ratio"]
    assert paper["digest"] == PRESETS["flexdit_xl_256_r61_86"].schedule.digest
    assert baselines["flexdit_xl_256_r44"]["digest"] == PRESETS["flexdit_xl_256_r44"].schedule.digest
    assert baselines["dense"]["macs"] == found["dense"]["macs"]
    low, high = found["macs_ratio_range"]
    assert 0.2 < low < high < 1


def test_reuse_saves_against_the_dense_base_in_full(tiny_config: Call) -> None:
    segments = [{"family": "dense", "depth": "rest"}]
    plain, reusing = (
        plan_of(parse_config(tiny_config(space={"segments": segments, "sampler_steps": 4, **sampling})))
        for sampling in ({}, {"cache": {"full": 0.5, "nulls": {"choice": [0, 1]}}})
    )
    assert reusing["dense"] == plain["dense"]
    assert plain["macs_ratio_range"] == [1.0, 1.0]
    low, high = reusing["macs_ratio_range"]
    assert low == pytest.approx(0.5)  # two of four steps call no model
    assert low < high < 0.75
    assert [row["sampling"] for row in plain["baselines"]][:1] == ["x4"]


@pytest.mark.parametrize(
    ("space", "columns"),
    [*((path.name, "80") for path in sorted((ROOT / "search_spaces").glob("*.yaml"))), ("quickstart.yaml", "160")],
)
def test_every_space_that_ships_can_be_planned(
    flexsearch: Call, monkeypatch: pytest.MonkeyPatch, space: str, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    outcome = flexsearch("plan", ROOT / "search_spaces" / space)
    assert outcome.code == 0
    assert "dense:" in outcome.out
    assert all(len(line) <= int(columns) for line in outcome.out.splitlines())


@pytest.mark.parametrize("arguments", [("--help",), ("plan", str(ROOT / "search_spaces" / "quickstart.yaml"))])
def test_what_is_quick_imports_nothing_heavy(own_cache: None, arguments: tuple[str, ...]) -> None:
    """Imports are what they take; a time would depend on what else the machine does."""
    code = (
        "import sys\n"
        "from flexsearch.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    called = [sys.executable, "-c", code, *arguments]
    found = subprocess.run(called, capture_output=True, text=True, check=True)
    assert found.stderr.strip() == "[]"
    assert "quickstart" in found.stdout


def test_python_runs_the_package() -> None:
    called = [sys.executable, "-m", "flexsearch", "--help"]
    assert "Search:" in subprocess.run(called, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md"])
def test_every_file_that_documentation_names_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    folders = "flexsearch|search_spaces|experiments|tests|docs"
    named = set(re.findall(rf"(?<![\w/.])((?:{folders})/[\w./-]*\w/?)", text))
    missing = [path for path in sorted(named) if not (ROOT / path).exists() and "." in Path(path).name]
    assert not missing
