"""flexsearch from Python: search, open a run, look at it, take a model; what a command ends with is an exception."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from builders import Call

import flexsearch
from flexsearch.errors import UserError


def test_importing_is_light() -> None:
    """What is wrong with a search is told before torch is imported."""
    for module, heavy in (
        ("flexsearch", {"torch", "pandas", "typer", "pydantic"}),
        ("flexsearch.study.run", {"torch"}),
    ):
        program = f"import sys, {module}; assert not {heavy} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", program], check=True)
    assert {"search", "open_run", "SearchRun"} <= set(dir(flexsearch))
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = flexsearch.serach


def test_search_goes_on_with_a_run_and_gives_it(run_dir: Path, run_space: Path, capfd: pytest.CaptureFixture) -> None:
    values = yaml.safe_load(run_space.read_text())
    batch = values["trial"].pop("batch")
    run = flexsearch.search(values, out=run_dir, executor="local", progress=False, trial__batch=batch)
    assert run.folder == run_dir
    assert capfd.readouterr().err == ""
    everything, front = run.trials(), run.front()
    assert len(everything) == 6
    assert front["on_front"].all()
    assert front["latency_ms"].is_monotonic_increasing
    written = pd.read_csv(run_dir / "front.csv")
    assert list(everything.columns) == list(written.columns)
    assert list(everything["trial"]) == list(written["trial"])


def test_a_run_is_looked_at(run_dir: Path, tmp_path: Path) -> None:
    run = flexsearch.open_run(str(run_dir))
    assert run.images(3).size == (171, 35)
    assert run.plot().axes[0].get_xlabel().startswith("latency")
    assert {"axes", "owns_ms", "hypervolume_lost"} <= set(run.attribution().columns)
    shown = run._repr_html_()
    assert shown.count("<tr") == 1 + len(run.front())
    assert "data:image/png;base64," in shown
    fastest = run.front()["latency_ms"].iloc[0]
    chosen = run.choose(max_latency_ms=fastest)
    assert chosen.point.latency_ms == fastest
    assert (run.export(chosen, tmp_path / "exported") / "recipe.yaml").exists()


def test_errors_are_exceptions(run_dir: Path, run_space: Path, tiny_config: Call, tmp_path: Path) -> None:
    run = flexsearch.open_run(run_dir)
    for call, message in (
        (lambda: flexsearch.open_run(tmp_path), "is not a run directory"),
        (lambda: flexsearch.search("quikstart"), "nearest legal: .*quickstart"),
        (lambda: flexsearch.search(tiny_config(), trail__updates=1), "trail: is not a known field"),
        (lambda: flexsearch.search(run_space, seed=1, out=run_dir), "was 0 when this run was started"),
        (lambda: run.images(99), "has no trial 99"),
        (lambda: run.choose(), "No searched trial is faster than what is free"),
    ):
        with pytest.raises(UserError, match=message):
            call()
