"""Tell how busy other programs keep this machine's processors, and make way for them. Imports no torch."""

import os
import sys
import time
from pathlib import Path

WATCHED_S = 0.5
CORES_TO_SPARE = 0.25  # of one: what an idle machine's own housekeeping may take
_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # columns of its first line: idle, and waiting for a disk
_POLICY = "OMP_WAIT_POLICY"


def num_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_cores() -> float:
    """Count the cores that other processes keep busy; what a hypervisor takes away counts too.

    They are watched for half a second; where the system does not tell, its load average counts.
    """
    if not _STAT.exists():
        return os.getloadavg()[0]
    busy, total, own = _times()
    time.sleep(WATCHED_S)
    busy, total, own = (now - before for now, before in zip(_times(), (busy, total, own), strict=True))
    seconds = total / (os.cpu_count() or 1)
    return (busy - own) / seconds if seconds > 0 else 0.0


def make_way() -> None:
    """Have threads sleep while they wait, where other programs use this machine, too; call it before torch is imported.

    OpenMP's threads spin while they wait. Where one of them has no core, each operation of torch so takes a time slice
    of the system (drawing on two busy cores: seconds became minutes). Where all have one, spinning is faster. A user's
    own `OMP_WAIT_POLICY` stays. Results do not depend on it.
    """
    if _POLICY not in os.environ and "torch" not in sys.modules and busy_cores() > CORES_TO_SPARE:
        os.environ[_POLICY] = "passive"  # read once, when torch is loaded; workers inherit it


def _times() -> tuple[float, float, float]:
    """Read seconds since the start: of all cores while busy, of all cores, of this process."""
    ticks = [int(word) for word in _STAT.read_text(encoding="utf-8").splitlines()[0].split()[1:9]]
    second, own = os.sysconf("SC_CLK_TCK"), os.times()
    idle = sum(ticks[column] for column in _IDLE)
    return (sum(ticks) - idle) / second, sum(ticks) / second, own.user + own.system
