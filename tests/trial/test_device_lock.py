"""The device lock: shared by workers, exclusive for measurements, without starvation, freed by a killed process."""

import fcntl
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal

import pytest

from flexsearch.trial import device_lock
from flexsearch.trial.device_lock import DeviceLock, this_machine

HOLDER = """
import sys, time
from pathlib import Path
from flexsearch.trial.device_lock import DeviceLock
with DeviceLock(Path(sys.argv[1])).exclusive():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def door_is_shut(path: Path) -> bool:
    """Whether a measurement waits or runs, so that no worker comes in."""
    with open(f"{path}-{this_machine()}.door", "ab") as door:
        try:
            fcntl.flock(door, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def use(path: Path, mode: Literal["shared", "exclusive"], events: list[str]) -> threading.Thread:
    """Wait for the device beside the test, use it and note so. Each has files of its own, as processes have."""

    def wait_and_use() -> None:
        with getattr(DeviceLock(path), mode)():
            events.append(f"{mode} begins")
            events.append(f"{mode} ends")

    thread = threading.Thread(target=wait_and_use, daemon=True)
    thread.start()
    return thread


def test_workers_share_a_measurement_waits_and_later_workers_wait_behind_it(path: Path) -> None:
    events: list[str] = []
    with DeviceLock(path).shared(), DeviceLock(path).shared():
        assert not door_is_shut(path)
        measuring = use(path, "exclusive", events)
        while not door_is_shut(path):
            time.sleep(0.001)
        late = use(path, "shared", events)
        late.join(0.05)  # were it to pass, it would now
        events.append("workers end")
    for thread in (measuring, late):
        thread.join(60)
        assert not thread.is_alive()
    uses = [f"{mode} {what}" for mode in ("exclusive", "shared") for what in ("begins", "ends")]
    assert events == ["workers end", *uses]


def test_a_killed_holder_leaves_no_lock(path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert door_is_shut(path)
    holder.kill()
    holder.wait()
    with DeviceLock(path).exclusive():
        pass
    with DeviceLock(path).shared(), DeviceLock(path).shared():
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
