"""Measured latency: whole images, all sampler steps and guidance included.

A machine drifts while a search runs. Every repetition therefore times the candidate and, right after it, a fixed
reference workload (a few steps of the dense base); the candidate's latency is the ratio of the two medians times the
reference's latency, which is measured once per study.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from flexsearch.measurement import Measurement
from flexsearch.objectives.settings import LatencySettings

REFERENCE_STEPS = 2

Workload = Callable[[], object]


def device_name(device: torch.device) -> str:
    """The hardware's name, for protocols."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    num = torch.get_num_threads()
    return f"{_cpu_model()} ({num} thread{'s' if num > 1 else ''})"


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"


@contextmanager
def cpu_threads(num_threads: int | None) -> Iterator[None]:
    """Runs with `num_threads` CPU threads, and restores the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seconds_of(workload: Workload, device: torch.device) -> float:
    """Time of one run: CUDA events on a GPU, the monotonic clock on a CPU."""
    if device.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        workload()
        end.record()
        torch.cuda.synchronize(device)
        return float(start.elapsed_time(end)) / 1000
    begun = time.perf_counter()
    workload()
    return time.perf_counter() - begun


def interleaved_seconds(workloads: list[Workload], *, repeats: int, device: torch.device) -> list[list[float]]:
    """Times of every workload, one after the other in each of `repeats` rounds, after one untimed round."""
    for workload in workloads:
        seconds_of(workload, device)
    rounds = [[seconds_of(workload, device) for workload in workloads] for _ in range(repeats)]
    return [list(column) for column in zip(*rounds, strict=True)]


def half_interquartile(values: list[float]) -> float:
    """Half of the range that holds the middle half of `values`; 0 for fewer than two."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2


def measure_latency(
    candidate: Workload,
    reference: Workload,
    *,
    reference_ms: float | None,
    settings: LatencySettings,
    device: torch.device,
    protocol: dict[str, Any],
) -> tuple[Measurement, float]:
    """Latency of generating one image, in a batch of `settings.batch`.

    Args:
        candidate: generates one batch.
        reference: the fixed workload.
        reference_ms: the reference's latency in this study; None takes the one measured now.
        settings: batch, repetitions, threads.
        device: where both run; the caller has it to itself.
        protocol: further facts about how the batch is generated.

    Returns:
        (latency in ms/image, the reference's median in ms as measured now).
    """
    with cpu_threads(settings.threads):
        times, base = interleaved_seconds([candidate, reference], repeats=settings.repeats, device=device)
        protocol = {
            **protocol,
            "device": device_name(device),
            "batch": settings.batch,
            "repeats": settings.repeats,
            "torch": torch.__version__,
            "compile": False,
            "statistic": "ratio of medians to the interleaved dense base",
        }
    measured_ms = statistics.median(base) * 1000
    ratios = [seconds / reference_seconds for seconds, reference_seconds in zip(times, base, strict=True)]
    unit_ms = (measured_ms if reference_ms is None else reference_ms) / settings.batch
    latency = Measurement(
        name="latency_ms",
        value=statistics.median(times) / statistics.median(base) * unit_ms,
        unit="ms/image",
        spread=half_interquartile(ratios) * unit_ms,
        protocol=protocol,
    )
    return latency, measured_ms
