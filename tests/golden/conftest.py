"""A copy of the old run, in whose folder its relative paths mean what they did."""

import shutil
from collections.abc import Callable
from pathlib import Path

import api
import pytest


@pytest.fixture
def old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `base`, `run`, `exported` and `space.yaml`, to which the process has gone; an empty cache.

    The run was made by `flexsearch run space.yaml --run-dir run`: no stored path is absolute, none is rewritten.
    """
    folder = tmp_path / "old_run"
    shutil.copytree(api.HERE / "old_run", folder)
    shutil.copy(api.HERE / "space.yaml", folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def flexsearch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., api.Outcome]:
    """Runs a command in this process."""
    return lambda *arguments: api.run_command(arguments, capsys, monkeypatch)
