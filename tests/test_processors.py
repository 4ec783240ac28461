"""How busy others keep the processors, and how threads wait then."""

import os
import subprocess
import sys

import pytest

from flexsearch import processors
from flexsearch.processors import busy_cores, make_way, num_cores


def test_busy_cores_are_those_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one second of four cores three were busy, one of them with this process."""
    readings = iter([(10.0, 100.0, 5.0), (13.0, 104.0, 6.0)])
    monkeypatch.setattr(processors, "_times", lambda: next(readings))
    monkeypatch.setattr(processors, "WATCHED_S", 0.0)
    monkeypatch.setattr(processors.os, "cpu_count", lambda: 4)
    assert busy_cores() == pytest.approx(2.0) if processors._STAT.exists() else busy_cores() >= 0


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert num_cores() == 3


@pytest.mark.parametrize(
    ("others", "before", "is_imported", "after"),
    [
        (1.2, None, False, "passive"),
        (0.1, None, False, None),  # a quiet machine: spinning is faster
        (1.2, "active", False, "active"),  # what the user says stays
        (1.2, None, True, None),  # too late: torch has read it
    ],
)
def test_threads_sleep_where_others_work(
    monkeypatch: pytest.MonkeyPatch, others: float, before: str | None, is_imported: bool, after: str | None
) -> None:
    monkeypatch.setattr(processors, "busy_cores", lambda: others)
    modules = {name: module for name, module in sys.modules.items() if name != "torch"}
    monkeypatch.setattr(processors.sys, "modules", modules | ({"torch": os} if is_imported else {}))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if before is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", before)
    make_way()
    assert os.environ.get("OMP_WAIT_POLICY") == after
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


def test_nothing_imports_torch_before_a_command_makes_way() -> None:
    """Libraries read the policy when they are loaded."""
    code = "import sys; import flexsearch.cli.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
