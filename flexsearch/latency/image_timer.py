"""Times whole batches of images of one base: all sampler steps and guidance included."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from flexsearch.data.conditions import Condition
from flexsearch.diffusion.data_gaussian import DIRECTIONS
from flexsearch.diffusion.sampling import denoise, initial_noise, on
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.latency.design import dense_plan
from flexsearch.latency.hardware import cpu_threads, hardware_of
from flexsearch.latency.measure import Workload, measure_latencies, measure_latency, relative_times
from flexsearch.latency.memory import measure_memory
from flexsearch.latency.settings import EAGER, LatencySettings
from flexsearch.measurement import Measurement
from flexsearch.models.data_gaussian import DataGaussian
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import Base
from flexsearch.schedule.plan import Plan, Target
from flexsearch.schedule.sampling import Sampling

_REFERENCE = Sampling(steps=2)


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
    device = model.device
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
        return self.base.model.device

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
            **({"weights": "bf16"} if self._is_in_bf16 else {}),
            **({"offload": "leaf_level"} if self.base.model.is_offloaded else {}),
            **self.target.clock.protocol,
        }

    @property
    def _is_in_bf16(self) -> bool:
        return any(weight.dtype == torch.bfloat16 for weight in self.base.model.parameters())

    def measure(self, plan: Plan) -> tuple[Measurement, float]:
        """Measure the latency of a plan on the base, and the reference's in ms; see `measure_latency`."""
        return measure_latency(
            self._workload(plan),
            self._workload(self.reference),
            reference_ms=None,
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

    def measure_memory(self, plan: Plan, *, model: FlexDiT) -> Measurement | None:
        """Measure the peak memory of a batch that has been timed; None on a CPU."""
        return measure_memory(self._workload(plan, model), model, device=self.device, protocol=self.protocol)

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
