"""The device lock: shared by workers, exclusive for measurements, without starvation, freed by a killed process."""

import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flexsearch.trial import device_lock
from flexsearch.trial.device_lock import DeviceLock

WORKER = """
import sys, time
from pathlib import Path
from flexsearch.trial.device_lock import DeviceLock
lock = DeviceLock(Path(sys.argv[1]))
mode, hold, log = sys.argv[2], float(sys.argv[3]), Path(sys.argv[4])
with (lock.exclusive() if mode == "exclusive" else lock.shared()):
    with log.open("a") as lines:
        lines.write(f"{mode} begins {time.time()}\\n")
    time.sleep(hold)
    with log.open("a") as lines:
        lines.write(f"{mode} ends {time.time()}\\n")
"""


def start(path: Path, mode: str, hold: float, log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, str(path), mode, str(hold), str(log)])


def wait_for(log: Path, text: str, times: int = 1) -> None:
    for _ in range(400):
        if log.exists() and log.read_text().count(text) >= times:
            return
        time.sleep(0.025)
    raise AssertionError(f"{text} never came")


def events(log: Path) -> list[str]:
    return [" ".join(line.split()[:2]) for line in log.read_text().splitlines()]


def test_workers_share_and_a_measurement_waits(tmp_path: Path) -> None:
    log = tmp_path / "log"
    workers = [start(tmp_path / "lock", "shared", 4, log)]
    wait_for(log, "shared begins")
    workers.append(start(tmp_path / "lock", "shared", 0.6, log))
    wait_for(log, "shared begins", times=2)
    workers.append(start(tmp_path / "lock", "exclusive", 0.05, log))
    for worker in workers:
        assert worker.wait(20) == 0
    found = events(log)
    begin = found.index("exclusive begins")
    assert found[begin + 1] == "exclusive ends"
    assert found[:begin].count("shared begins") == found[:begin].count("shared ends")


def test_later_workers_wait_behind_a_waiting_measurement(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = start(tmp_path / "lock", "shared", 1.5, log)
    wait_for(log, "shared begins")
    measuring = start(tmp_path / "lock", "exclusive", 0.1, log)
    time.sleep(0.7)
    late = start(tmp_path / "lock", "shared", 0.0, log)
    for process in (first, measuring, late):
        assert process.wait(20) == 0
    order = ("shared", "exclusive", "shared")
    assert events(log) == [f"{mode} {what}" for mode in order for what in ("begins", "ends")]


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    log = tmp_path / "log"
    holder = start(tmp_path / "lock", "exclusive", 60, log)
    wait_for(log, "exclusive begins")
    holder.kill()
    holder.wait()
    with DeviceLock(tmp_path / "lock").exclusive():
        pass
    with DeviceLock(tmp_path / "lock").shared(), DeviceLock(tmp_path / "lock").shared():
        pass


def test_machines_that_share_a_folder_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = DeviceLock(tmp_path / "lock")
    monkeypatch.setattr(device_lock, "_BOOT", tmp_path / "no such file")
    monkeypatch.setattr(platform, "node", lambda: "another")
    there = DeviceLock(tmp_path / "lock")
    with here.exclusive(), there.exclusive():
        names = {path.name.rpartition(".")[0] for path in tmp_path.iterdir()}
    assert len(names) == 2
    assert "lock-another" in names
