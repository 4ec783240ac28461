"""Times of one forward pass with guidance, per stage, of diffusers' dense model, ours, and the paper's schedules."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from diffusers import DDIMScheduler
from models import Subject

from flexsearch.data.conditions import random_condition
from flexsearch.diffusion.sampling import denoise, on, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.latency.measure import Workload, interleaved_seconds
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.cost import read_text_macs
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.plan import stage_graphs
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TransformerShape
from flexsearch.schedule.step import Graph

MATRIX = 8192
TRAINING_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. `seconds` is the median time of a forward pass of the whole batch, stages weighted."""

    model: str
    implementation: str
    schedule: str
    compiled: str
    batch: int
    rows: int
    seconds: float
    samples_per_s: float
    peak_gib: float | None
    gmacs: float
    speedup: float
    allowed: float
    of_allowed: float
    tflops: float
    of_matrix_rate: float
    loop_overhead: float | None


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Something to be timed: one workload per stage, and how much of diffusion time each stage takes."""

    implementation: str
    schedule: str
    compiled: str
    workloads: tuple[Workload, ...]
    weights: tuple[float, ...]
    gmacs: float
    model: FlexDiT | None = None


def matrix_rate(*, device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    """Multiply-accumulates per second of one large square matrix product: what the chip really gives."""
    size = MATRIX if device.type == "cuda" else MATRIX // 4
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    (times,) = interleaved_seconds([lambda: left @ right], repeats=max(repeats, 5), device=device)
    return size**3 / statistics.median(times)


def variants(
    subject: Subject, *, batch: int, device: torch.device, dtype: torch.dtype, compiled: str, fused: bool
) -> Iterator[Variant]:
    """diffusers' dense model, ours, and every schedule of the paper, all on one set of weights; `fused` fuses ours."""
    base = subject.base(device=device, dtype=dtype)
    shape = subject.shape
    rows = batch * (2 if subject.guidance > 1 else 1)
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(rows, *shape.sample_size, generator=generator).to(device, dtype)
    condition = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in on(device, random_condition(shape, batch=rows, generator=generator)).items()
    }

    def timestep(time: float) -> torch.Tensor:
        return torch.full((rows,), time * TRAINING_STEPS, device=device, dtype=torch.float32)

    dense = DensitySchedule.all_dense(shape.num_blocks)
    of_base: Any = torch.compile(base, dynamic=False, **_options(compiled)) if compiled != "none" else base
    diffusers_condition = {  # what diffusers' Latte cannot take
        name: value for name, value in condition.items() if (subject.backbone, name) != ("latte", _MASK)
    }
    middle = timestep(0.5)
    yield Variant(
        implementation="diffusers",
        schedule="dense",
        compiled=compiled,
        workloads=(_inference(lambda: of_base(noisy, timestep=middle, **diffusers_condition)),),
        weights=(1.0,),
        gmacs=_gmacs(dense, shape),
    )
    for name, schedule in {"dense": dense, **subject.schedules}.items():
        model = FlexDiT.from_base(base, backbone=subject.backbone, schedule=schedule).eval()
        if fused:
            model.fuse()
        if compiled != "none":
            model.compile_stages(**_options(compiled))
        stages = list(pairwise(schedule.timetable.edges))
        graphs = stage_graphs(schedule, shape.grid, num_blocks=shape.num_blocks, rows=rows // batch)
        workloads = tuple(
            _inference(_call(model, noisy, timestep((low + high) / 2), condition, graph))
            for graph, (low, high) in zip(graphs, stages, strict=True)
        )
        yield Variant(
            implementation="flexsearch",
            schedule=name,
            compiled=compiled,
            workloads=workloads,
            weights=tuple(high - low for low, high in stages),
            gmacs=_gmacs(schedule, shape),
            model=model,
        )


_MASK = "encoder_attention_mask"


def _options(compiled: str) -> dict[str, Any]:
    return {"backend": "eager"} if compiled == "eager-backend" else {"mode": compiled}


def _gmacs(schedule: DensitySchedule, shape: TransformerShape) -> float:
    """Of one forward pass of one row that reads its text itself, averaged over diffusion time."""
    stages = zip(stage_graphs(schedule, shape.grid), pairwise(schedule.timetable.edges), strict=True)
    return (sum((high - low) * graph.macs(shape) for graph, (low, high) in stages) + read_text_macs(shape)) / 1e9


def _call(
    model: FlexDiT, noisy: torch.Tensor, timestep: torch.Tensor, condition: dict[str, torch.Tensor], graph: Graph
) -> Callable[[], object]:
    return lambda: model(noisy, timestep, graph=graph, **condition)


def _inference(call: Callable[[], object]) -> Workload:
    def run() -> object:
        with torch.inference_mode():
            return call()

    return run


def timed(
    name: str,
    subject: Subject,
    *,
    batch: int | None,
    device: torch.device,
    dtype: torch.dtype,
    compiled: str,
    repeats: int,
    sampler_steps: int,
    rate: float,
    loop_steps: int,
    fused: bool,
) -> list[Row]:
    """The rows of one model, all variants timed in turn in every round."""
    batch = batch or subject.batch
    found = list(variants(subject, batch=batch, device=device, dtype=dtype, compiled=compiled, fused=fused))
    times = interleaved_seconds(
        [workload for variant in found for workload in variant.workloads], repeats=repeats, device=device
    )
    medians = iter([statistics.median(column) for column in times])
    seconds = [sum(weight * next(medians) for weight in variant.weights) for variant in found]
    dense = next(index for index, variant in enumerate(found) if variant.implementation == "flexsearch")
    rows = batch * (2 if subject.guidance > 1 else 1)
    table = []
    for variant, one in zip(found, seconds, strict=True):
        speedup, allowed = seconds[dense] / one, found[dense].gmacs / variant.gmacs
        achieved = variant.gmacs * 1e9 * rows / one
        table.append(
            Row(
                model=name,
                implementation=variant.implementation,
                schedule=variant.schedule,
                compiled=compiled,
                batch=batch,
                rows=rows,
                seconds=one,
                samples_per_s=batch / (one * sampler_steps),
                peak_gib=_peak_gib(variant, device),
                gmacs=variant.gmacs,
                speedup=speedup,
                allowed=allowed,
                of_allowed=speedup / allowed,
                tflops=2 * achieved / 1e12,
                of_matrix_rate=achieved / rate,
                loop_overhead=_loop_overhead(
                    variant, subject, batch=batch, expected=one, device=device, steps=loop_steps
                ),
            )
        )
    return table


def _peak_gib(variant: Variant, device: torch.device) -> float | None:
    """Most memory that tensors take during a forward pass, weights included; None where torch does not count it."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    for workload in variant.workloads:
        workload()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) / 2**30


def _loop_overhead(
    variant: Variant, subject: Subject, *, batch: int, expected: float, device: torch.device, steps: int
) -> float | None:
    """By how much a real sampling loop (guidance, scheduler) takes longer than its forward passes."""
    if variant.model is None or not steps:
        return None
    shape, scheduler = subject.shape, DDIMScheduler()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch, *shape.sample_size, generator=generator).to(device)
    conditions = [on(device, random_condition(shape, batch=batch, generator=generator)) for _ in range(2)]
    settings = SamplingSettings(guidance=subject.guidance, guidance_channels=3)
    plan = plan_of(variant.model, scheduler, Sampling(steps=steps), settings)

    def loop() -> object:
        return denoise(
            variant.model,
            scheduler,
            plan,
            noise=noise,
            condition=conditions[0],
            none=conditions[1],
            settings=settings,
        )

    (times,) = interleaved_seconds([loop], repeats=3, device=device)
    return statistics.median(times) / (expected * steps) - 1
