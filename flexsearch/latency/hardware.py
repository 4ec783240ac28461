"""Say what of a machine decides a time, and how many of its CPU threads a timing has."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from flexsearch.latency.settings import LatencySettings


def device_name(device: torch.device) -> str:
    """Name the hardware, for protocols."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    num = torch.get_num_threads()
    return f"{_cpu_model()} ({num} thread{'s' if num > 1 else ''})"


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"


@contextmanager
def cpu_threads(num_threads: int | None) -> Iterator[None]:
    """Run with `num_threads` CPU threads, and restore the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def hardware_of(device: torch.device, settings: LatencySettings) -> dict[str, Any]:
    """Say what of the machine decides a time: device, CPU threads, torch, and whether graphs are compiled."""
    with cpu_threads(settings.threads):
        return {"device": device_name(device), "torch": torch.__version__, "compile": settings.compile}
