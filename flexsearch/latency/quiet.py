"""Notice other work on this machine before something is timed: it only ever adds to a latency, and not evenly."""

import torch

from flexsearch.processors import CORES_TO_SPARE, busy_cores, num_cores

_GPU_PERCENT = 10


def disturbance(device: torch.device, *, threads: int | None) -> str | None:
    """Say in one line what else this machine is doing, if that disturbs a timing on `device`; None if nothing does.

    Processors are watched for half a second, this process's own time taken off. They are free enough if the timing's
    threads fit beside all others. A GPU is asked for its use.

    Args:
        device: where something will be timed; this process must not be working on it.
        threads: of the timing; None takes all.
    """
    cores = num_cores()
    others = max(0.0, busy_cores())
    wanted = 1 if device.type == "cuda" else threads or cores
    if others + wanted > cores + CORES_TO_SPARE:
        beside = f"{others:.1f} of {cores} cores are busy with something else, and a timing takes {wanted}"
        return f"{beside}: latencies will be too high"
    percent = gpu_percent(device) if device.type == "cuda" else None
    if percent is not None and percent > _GPU_PERCENT:
        return f"something else uses the GPU ({percent} % busy): latencies will be too high"
    return None


def gpu_percent(device: torch.device) -> int | None:
    """Ask the driver how busy the GPU was of late; None where nothing here can ask it (`nvidia-ml-py` can)."""
    try:
        return int(torch.cuda.utilization(device))
    except (ImportError, RuntimeError, OSError):
        return None
