"""Folders of Ray's: those that killed drivers have left go, and no other."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from flexsearch.study.ray_folder import ray_folder

HOLDER = """
import time
from flexsearch.study.ray_folder import ray_folder
with ray_folder() as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


def test_what_a_killed_driver_has_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (tmp_path / "fs-ray-in-the-making").mkdir()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    try:
        left = Path(holder.stdout.readline().strip())
        (left / "session").mkdir()
        with ray_folder() as own:
            assert own.parent == left.parent == tmp_path
            assert left.is_dir(), "its process lives"
        assert not own.exists()
    finally:
        holder.kill()
        holder.wait()
    with ray_folder():
        assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["fs-ray-in-the-making"]
