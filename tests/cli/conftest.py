"""The command line, called in this process or as a program of its own."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from builders import Call

from flexsearch.cli.app import main

_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore interrupts
from flexsearch.cli.app import main
main()
"""


WHOLE: dict[str, Any] = {
    "search": {"noise_schedules": 2, "noise_seeds": 1},
    "space": {"sampler_steps": 1},
    "early_stopping": {"rungs": [0.5], "keep": 1.0, "images": 10},
}
"""Changes of the tiny configuration after which a run has everything that a run can have."""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def flexsearch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Runs a command in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = _run(monkeypatch, *arguments)
        printed = capsys.readouterr()
        return Outcome(code, printed.out, printed.err)

    return call


def _run(patch: pytest.MonkeyPatch, *arguments: object) -> int:
    patch.setattr(sys, "argv", ["flexsearch", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny_config: Call) -> Path:
    """A finished run, made once, on one thread, as Ray's workers have; and where `import ray` fails."""
    folder, num_threads = tmp_path_factory.mktemp("finished"), torch.get_num_threads()
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny_config(**WHOLE)))
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setitem(sys.modules, "ray", None)
        assert _run(patch, "run", folder / "tiny.yaml", "--run-dir", folder / "run", "--executor", "local") == 0
    torch.set_num_threads(num_threads)
    return folder / "run"


@pytest.fixture
def run_dir(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, for one test."""
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def run_space(tiny_space: Call) -> Path:
    """The search space of the finished run."""
    return tiny_space(**WHOLE)


@pytest.fixture
def start_program(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a command as a program, which a test can kill."""

    def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _PROGRAM, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, **{**pipes, "cwd": tmp_path, **options})

    return start


@pytest.fixture
def tiny_space(tmp_path: Path, tiny_config: Call) -> Callable[..., Path]:
    """Writes a search space file; keywords replace parts of the tiny configuration."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(tiny_config(**changes)))
        return path

    return write


@pytest.fixture(autouse=True)
def _own_cache(own_cache: None) -> None:
    """No command finds what another test computed."""


@pytest.fixture(autouse=True)
def _not_by_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hints do not depend on how the tests were started."""
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
