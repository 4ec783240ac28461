"""Measured latency: whole images, all sampler steps and guidance included.

A machine drifts while a search runs. Every repetition therefore times the candidate and, right after it, a fixed
reference workload (a few steps of the dense base); the candidate's latency is the ratio of the two lower quartiles
times the reference's latency, which is measured once per study.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from flexsearch.data.conditions import Condition
from flexsearch.diffusion.data_gaussian import DIRECTIONS
from flexsearch.diffusion.sampling import denoise, initial_noise, on
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.latency.design import dense_plan
from flexsearch.latency.settings import EAGER, LatencySettings
from flexsearch.measurement import Measurement
from flexsearch.models.data_gaussian import DataGaussian
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import Base
from flexsearch.schedule.plan import Plan, Target
from flexsearch.schedule.sampling import Sampling

Workload = Callable[[], object]

_REFERENCE = Sampling(steps=2)
_STANDARD_ERROR = 1.2533 / 0.6745
"""Of a median of n normal values: this, times half their interquartile range, over the root of n."""


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


def one_batch(
    model: FlexDiT,
    scheduler: Any,
    plan: Plan,
    *,
    condition: Condition,
    none: Condition,
    settings: SamplingSettings,
    is_compiled: bool = False,
) -> Workload:
    """Make the workload that latency means: one batch of images, one per row of `condition`, on the model's device.

    The model gets what the plan needs and it has not: weights as they start, mean and covariance of zero. Time does not
    depend on their values. What is compiled is so by the first run, and only within runs.
    """
    device = next(model.parameters()).device
    model.add_weights((operation.role, operation.block) for graph in plan.graphs for operation in graph.route)
    if model.data_gaussian is None and plan.candidate.sampling.start != "model":
        model.set_data_gaussian(DataGaussian.zeros(model.shape, num_directions=DIRECTIONS))
    rows = len(next(iter(condition.values())))
    noise = initial_noise(range(rows), shape=model.shape.sample_size, seed=0).to(device)
    condition, none = on(device, condition), on(device, none)

    def run() -> Tensor:
        with model.compiled_stages() if is_compiled else nullcontext():
            return denoise(
                model.eval(), scheduler, plan, noise=noise, condition=condition, none=none, settings=settings
            )

    return run


@dataclass(frozen=True, kw_only=True)
class ImageTimer:
    """Times batches of images of one base, over its reference workload.

    Attributes:
        base: the dense base, on the device.
        target: of the base.
        settings: batch, repetitions, threads.
        sampling: how images are drawn.
        condition: of every image of a batch.
        none: as many rows of "no condition".
    """

    base: Base
    target: Target
    settings: LatencySettings
    sampling: SamplingSettings
    condition: Condition
    none: Condition

    @property
    def device(self) -> torch.device:
        """Where everything runs."""
        device: torch.device = next(self.base.model.parameters()).device
        return device

    @property
    def reference(self) -> Plan:
        """The plan of the reference workload: a few steps of the dense base."""
        return dense_plan(self.target, _REFERENCE)

    @property
    def protocol(self) -> dict[str, Any]:
        """How a batch is generated, and on what."""
        return {
            **hardware_of(self.device, self.settings),
            "batch": self.settings.batch,
            "guidance": self.sampling.guidance,
            "dtype": self.sampling.dtype,
            **self.target.clock.protocol,
        }

    def measure(
        self, plan: Plan, *, model: FlexDiT | None = None, reference_ms: float | None = None
    ) -> tuple[Measurement, float]:
        """Measure the latency of a plan on `model`, the base if None; see `measure_latency`."""
        return measure_latency(
            self._workload(plan, model),
            self._workload(self.reference),
            reference_ms=reference_ms,
            settings=self.settings,
            device=self.device,
            protocol=self.protocol,
        )

    def measure_both(
        self, plan: Plan, *, model: FlexDiT, reference_ms: float | None = None
    ) -> tuple[list[Measurement], float]:
        """Measure the latency of a plan as `measure` does and, where graphs are compiled, what it is without, beside
        it and interleaved with it."""
        (latencies,), measured_ms = self._measure([plan], model=model, reference_ms=reference_ms)
        return latencies, measured_ms

    def compile(self, plan: Plan, *, model: FlexDiT) -> None:
        """Have the graphs of a plan and of the reference compiled, which keeps a timing waiting; nothing where they are
        not to be."""
        if self.settings.compile:
            with cpu_threads(self.settings.threads):
                self._workload(plan, model)()
                self._workload(self.reference)()

    def measure_together(
        self, plans: Sequence[Plan], *, model: FlexDiT, reference_ms: float | None
    ) -> list[list[Measurement]]:
        """Measure the latencies of plans on one model as `measure_both` does each, interleaved."""
        return self._measure(plans, model=model, reference_ms=reference_ms)[0]

    def _measure(
        self, plans: Sequence[Plan], *, model: FlexDiT, reference_ms: float | None
    ) -> tuple[list[list[Measurement]], float]:
        variants = (True, False) if self.settings.compile else (False,)
        latencies, measured_ms = measure_latencies(
            [self._workload(plan, model, is_compiled=one) for plan in plans for one in variants],
            self._workload(self.reference),
            reference_ms=reference_ms,
            settings=self.settings,
            device=self.device,
            protocol=self.protocol,
        )
        for place in range(1, len(latencies), 2) if self.settings.compile else ():
            protocol = {**latencies[place].protocol, "compile": False}
            latencies[place] = replace(latencies[place], name=EAGER, protocol=protocol)
        return [latencies[at : at + len(variants)] for at in range(0, len(latencies), len(variants))], measured_ms

    def relative(
        self, plans: Sequence[Plan], *, rounds: int, report: Callable[[int, int], None]
    ) -> tuple[list[float], list[float], float]:
        """Time plans on the base over the reference workload; see `relative_times`."""
        workloads, reference = map(self._workload, plans), self._workload(self.reference)
        with cpu_threads(self.settings.threads):
            return relative_times(list(workloads), reference, rounds=rounds, device=self.device, report=report)

    def _workload(self, plan: Plan, model: FlexDiT | None = None, *, is_compiled: bool | None = None) -> Workload:
        return one_batch(
            model or self.base.model,
            self.base.scheduler,
            plan,
            condition=self.condition,
            none=self.none,
            settings=self.sampling,
            is_compiled=self.settings.compile if is_compiled is None else is_compiled,
        )
