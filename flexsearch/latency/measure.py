"""Measured latency of workloads, such as batches of images (`flexsearch.latency.image_timer`).

A machine drifts while a search runs. Every repetition therefore times the candidate and, right after it, a fixed
reference workload (a few steps of the dense base); the candidate's latency is the ratio of the two lower quartiles
times the reference's latency, which is measured once per study.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from flexsearch.latency.hardware import cpu_threads
from flexsearch.latency.settings import LatencySettings
from flexsearch.measurement import Measurement

Workload = Callable[[], object]

_STANDARD_ERROR = 1.2533 / 0.6745
"""Of a median of n normal values: this, times half their interquartile range, over the root of n."""


def seconds_of(workload: Workload, device: torch.device) -> float:
    """Time one run: CUDA events on a GPU, the monotonic clock on a CPU."""
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
    """Time every workload, one after the other in each of `repeats` rounds, after one untimed round."""
    for workload in workloads:
        seconds_of(workload, device)
    rounds = [[seconds_of(workload, device) for workload in workloads] for _ in range(repeats)]
    return [list(column) for column in zip(*rounds, strict=True)]


def lower_quartile(values: list[float]) -> float:
    """Give the value that a quarter of `values` is below."""
    return statistics.quantiles(values, n=4, method="inclusive")[0] if len(values) > 1 else values[0]


def half_interquartile(values: list[float]) -> float:
    """Give half of the range that holds the middle half of `values`; 0 for fewer than two."""
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
    protocol: Mapping[str, Any],
) -> tuple[Measurement, float]:
    """Measure the latency of one image, in a batch of `settings.batch`.

    Args:
        candidate: generates one batch.
        reference: the fixed workload.
        reference_ms: the reference's latency in this study; None takes the one measured now.
        settings: batch, repetitions, threads.
        device: where both run; the caller has it to itself.
        protocol: how the batch is generated, and on what.

    Returns:
        (latency in ms/image, the reference's lower quartile in ms as measured now). Other work on a machine only adds
        time: measured again on a shared one, lower quartiles of 9 repetitions varied by 1.3 %, medians by 3.1 %
        (experiments/LOG.md, 2026-11-28).
    """
    (latency,), measured_ms = measure_latencies(
        [candidate], reference, reference_ms=reference_ms, settings=settings, device=device, protocol=protocol
    )
    return latency, measured_ms


def measure_latencies(
    candidates: Sequence[Workload],
    reference: Workload,
    *,
    reference_ms: float | None,
    settings: LatencySettings,
    device: torch.device,
    protocol: Mapping[str, Any],
) -> tuple[list[Measurement], float]:
    """Measure several candidates as `measure_latency` does each, in turn in every repetition: what happens to the
    machine happens to all alike."""
    workloads = [workload for candidate in candidates for workload in (candidate, reference)]
    with cpu_threads(settings.threads):
        columns = interleaved_seconds(workloads, repeats=settings.repeats, device=device)
    measured_ms = statistics.median(lower_quartile(base) * 1000 for base in columns[1::2])
    unit_ms = (measured_ms if reference_ms is None else reference_ms) / settings.batch
    return [
        _latency(times, base, unit_ms=unit_ms, settings=settings, protocol=protocol)
        for times, base in zip(columns[::2], columns[1::2], strict=True)
    ], measured_ms


def _latency(
    times: list[float], base: list[float], *, unit_ms: float, settings: LatencySettings, protocol: Mapping[str, Any]
) -> Measurement:
    ratios = [seconds / reference_seconds for seconds, reference_seconds in zip(times, base, strict=True)]
    return Measurement(
        name="latency_ms",
        value=lower_quartile(times) / lower_quartile(base) * unit_ms,
        unit="ms/image",
        spread=half_interquartile(ratios) * unit_ms,
        protocol={
            **protocol,
            "repeats": settings.repeats,
            "statistic": "ratio of lower quartiles to the interleaved dense base",
        },
    )


def relative_times(
    workloads: Sequence[Workload],
    reference: Workload,
    *,
    rounds: int,
    device: torch.device,
    report: Callable[[int, int], None],
) -> tuple[list[float], list[float], float]:
    """Time every workload over the mean of the reference right before and after it; the median of `rounds`.

    Returns:
        (ratio per workload, relative standard error of each from the spread of its repetitions, median seconds of the
        reference).
    """
    for workload in (*workloads, reference):
        seconds_of(workload, device)
    ratios: list[list[float]] = [[] for _ in workloads]
    references = [seconds_of(reference, device)]
    for done in range(rounds):
        for index, workload in enumerate(workloads):
            seconds = seconds_of(workload, device)
            references.append(seconds_of(reference, device))
            ratios[index].append(seconds / statistics.fmean(references[-2:]))
        report(done + 1, rounds)
    medians, widths = list(map(statistics.median, ratios)), map(half_interquartile, ratios)
    errors = [
        _STANDARD_ERROR * width / (median * math.sqrt(rounds)) for width, median in zip(widths, medians, strict=True)
    ]
    return medians, errors, statistics.median(references)
