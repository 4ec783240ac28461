"""Notice other work on this machine before something is timed: it only ever adds to a latency, and not evenly."""

import os
import time
from pathlib import Path

import torch

WATCHED_S = 0.5
_CORES_TO_SPARE = 0.25  # of one: what an idle machine's own housekeeping may take
_GPU_PERCENT = 10
_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # columns of its first line: idle, and waiting for a disk


def disturbance(device: torch.device, *, threads: int | None) -> str | None:
    """Say in one line what else this machine is doing, if that disturbs a timing on `device`; None if nothing does.

    Processors are watched for half a second, this process's own time taken off; where the system does not tell, its
    load average counts. They are free enough if the timing's threads fit beside all others. A GPU is asked for its use.

    Args:
        device: where something will be timed; this process must not be working on it.
        threads: of the timing; None takes all.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    others = max(0.0, busy_cores())
    wanted = 1 if device.type == "cuda" else threads or cores
    if others + wanted > cores + _CORES_TO_SPARE:
        beside = f"{others:.1f} of {cores} cores are busy with something else, and a timing takes {wanted}"
        return f"{beside}: latencies will be too high"
    percent = gpu_percent(device) if device.type == "cuda" else None
    if percent is not None and percent > _GPU_PERCENT:
        return f"something else uses the GPU ({percent} % busy): latencies will be too high"
    return None


def busy_cores() -> float:
    """Count the cores that other processes keep busy; what a hypervisor takes away counts too."""
    if not _STAT.exists():
        return os.getloadavg()[0]
    busy, total, own = _times()
    time.sleep(WATCHED_S)
    busy, total, own = (now - before for now, before in zip(_times(), (busy, total, own), strict=True))
    seconds = total / (os.cpu_count() or 1)
    return (busy - own) / seconds if seconds > 0 else 0.0


def _times() -> tuple[float, float, float]:
    """Read seconds since the start: of all cores while busy, of all cores, of this process."""
    ticks = [int(word) for word in _STAT.read_text(encoding="utf-8").splitlines()[0].split()[1:9]]
    second, own = os.sysconf("SC_CLK_TCK"), os.times()
    idle = sum(ticks[column] for column in _IDLE)
    return (sum(ticks) - idle) / second, sum(ticks) / second, own.user + own.system


def gpu_percent(device: torch.device) -> int | None:
    """Ask the driver how busy the GPU was of late; None where nothing here can ask it (`nvidia-ml-py` can)."""
    try:
        return int(torch.cuda.utilization(device))
    except (ImportError, RuntimeError, OSError):
        return None
