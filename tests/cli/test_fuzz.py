"""Mutated files end in short lines and exit status 0 or 2. `experiments/fuzz/run.py` has more of them."""

import sqlite3
from pathlib import Path

import pytest
from builders import Call
from fake_run import FakeRun
from mutants import mutate

SPACES = Path(__file__).parents[2] / "search_spaces"


@pytest.mark.parametrize("name", ["quickstart", "latte", "quickstart_free"])
def test_mutated_spaces_are_plans_or_refused(flexsearch: Call, tmp_path: Path, name: str) -> None:
    content = (SPACES / f"{name}.yaml").read_bytes()
    for seed in range(60):
        (tmp_path / "space.yaml").write_bytes(mutate(content, seed))
        outcome = flexsearch("plan", tmp_path / "space.yaml", "--json")
        assert outcome.code in (0, 2), (seed, outcome.err)
        assert all(len(line) <= 300 for line in outcome.err.splitlines()), seed
        assert "Traceback" not in outcome.err


@pytest.mark.parametrize("name", ["config.yaml", "study.db"])
def test_mutated_runs_are_read_or_refused(flexsearch: Call, tmp_path: Path, name: str) -> None:
    run_dir = FakeRun(folder=tmp_path / "run", has_study=True).make().folder
    content = (run_dir / name).read_bytes()
    for seed in range(30):
        (run_dir / name).write_bytes(mutate(content, seed))
        outcome = flexsearch("front", run_dir, "--json")
        assert outcome.code in (0, 2), (seed, outcome.err)
        assert all(len(line) <= 300 for line in outcome.err.splitlines()), seed


@pytest.mark.parametrize("column", ["value", "spread"])
def test_text_in_place_of_a_number_is_named(flexsearch: Call, tmp_path: Path, column: str) -> None:
    run_dir = FakeRun(folder=tmp_path / "run", has_study=True).make().folder
    with sqlite3.connect(run_dir / "study.db") as database:
        database.execute(f"UPDATE flexsearch_measurement SET {column} = 'x'")
    outcome = flexsearch("front", run_dir)
    assert (outcome.code, "holds results that do not fit its configuration" in outcome.err) == (2, True)
