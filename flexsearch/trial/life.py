"""The life of a trial, top to bottom, cheapest evidence first.

MACs, then measured latency with the device to itself, then the gate, then a short fine-tune from the warm start, then
samples, then their distance to real images. Everything that a trial leaves lies in `trials/<number>/`.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.utils import save_image

from flexsearch.data.images import tiles, to_uint8
from flexsearch.diffusion.sampling import denoise, generate, initial_noise, on, sampler_times
from flexsearch.diffusion.training import Training
from flexsearch.files import replacing, write_atomically
from flexsearch.measurement import Measurement
from flexsearch.models.flexdit import FlexDiT
from flexsearch.objectives.latency import REFERENCE_STEPS, Workload, cpu_threads, device_name, measure_latency
from flexsearch.objectives.quality import measure_quality
from flexsearch.schedule.macs import plan_macs
from flexsearch.trial.contract import Phase, Progress, Report, State, TrialOrder, TrialResult
from flexsearch.trial.workbench import Workbench, workbench

SHOWN_IMAGES = 40
SHOWN_VIDEOS = 4
CHECKPOINT = "model"


class Clock:
    """Wall seconds per phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - begun, 3)


def run_trial(order: TrialOrder, report: Report) -> TrialResult:
    """Evaluates one candidate and writes `trials/<number>/`.

    Args:
        order: what to evaluate.
        report: called as the trial goes on.

    Returns:
        The result, which also lies in `trials/<number>/result.json`.
    """
    clock = Clock()
    with clock.phase("prepare"):
        report(Progress(phase="prepare"))
        bench = workbench(order.run_dir)
        start = bench.start if order.fine_tuned else bench.inputs.base.model
        model = start.clone()
        model.set_schedule(order.candidate.schedule)
        model.drop_unused_merges()
        measurements = {"macs": _macs(model, order, bench)}
    constraints: dict[str, float] = {}
    curve: list[tuple[int, float]] = []
    state: State = "complete"
    reason = None
    if not order.is_repetition:
        with clock.phase("latency"):
            report(Progress(phase="latency"))
            latency, constraints = time_images(model, order, bench)
            measurements[latency.name] = latency
            state, reason = _gate(constraints, latency, order, bench)
    if state == "complete":
        with clock.phase("fine-tune"):
            if order.fine_tuned:
                model = _fine_tune(model, order, bench, curve, report)
        with clock.phase("sample"):
            images = _sample(model, order, bench, report)
        with clock.phase("score"):
            report(Progress(phase="score"))
            measurements |= {found.name: found for found in _quality(images, order, bench)}
        if not order.is_repetition:
            _keep(model, images, order)
    result = TrialResult(
        state=state,
        measurements=measurements,
        constraints=constraints,
        curve=tuple(curve),
        seconds=clock.seconds,
        reason=reason,
    )
    write_atomically(order.trial_dir / "result.json", json.dumps(result.to_dict(), indent=2))
    return result


def _macs(model: FlexDiT, order: TrialOrder, bench: Workbench) -> Measurement:
    """MACs of one forward pass of one image, averaged over the sampler's steps."""
    steps = order.candidate.sampler_steps
    times = sampler_times(bench.inputs.base.scheduler, steps)
    return Measurement(
        name="macs",
        value=plan_macs(model.plan(), model.shape, times),
        unit="MACs/forward",
        protocol={"count": "matrix products and convolutions of one sample, averaged over the sampler's steps"},
    )


def _batch_of(model: FlexDiT, sampler_steps: int, bench: Workbench) -> Workload:
    """Generating one batch of images."""
    inputs, batch = bench.inputs, bench.settings.objectives.latency.batch
    noise = initial_noise(range(batch), shape=model.shape.sample_size, seed=0).to(inputs.device)
    condition = on(inputs.device, inputs.data.conditions.of_samples(range(batch)))
    none = on(inputs.device, inputs.data.conditions.none(batch))

    def run() -> Tensor:
        return denoise(
            model.eval(),
            inputs.base.scheduler,
            noise=noise,
            condition=condition,
            none=none,
            sampler_steps=sampler_steps,
            settings=bench.settings.sampling,
        )

    return run


def time_images(model: FlexDiT, order: TrialOrder, bench: Workbench) -> tuple[Measurement, dict[str, float]]:
    """Latency per image, and by how much it breaks each limit (at most 0 is within)."""
    settings, sampling = bench.settings.objectives.latency, bench.settings.sampling
    steps = order.candidate.sampler_steps
    protocol = {
        "sampler": type(bench.inputs.base.scheduler).__name__,
        "guidance": sampling.guidance,
        "dtype": sampling.dtype,
    }
    with cpu_threads(settings.threads):
        hardware = {"device": device_name(bench.inputs.device), "batch": settings.batch, **protocol}
    path = bench.shared.reference_latency(hardware)
    with bench.turn.alone():
        known = json.loads(path.read_text())["reference_ms"] if path.exists() else None
        latency, measured_ms = measure_latency(
            _batch_of(model, steps, bench),
            _batch_of(bench.inputs.base.model, REFERENCE_STEPS, bench),
            reference_ms=known,
            settings=settings,
            device=bench.inputs.device,
            protocol=protocol,
        )
        if known is None:
            write_atomically(path, json.dumps({"reference_ms": measured_ms, **hardware}))
    dense_ms = (known or measured_ms) / settings.batch * steps / REFERENCE_STEPS
    limit = latency.value - settings.max_ms if settings.max_ms is not None else -1.0
    clearly_ms = latency.value - (latency.spread or 0.0)  # what only noise makes slower is not gated
    return latency, {"latency_limit_ms": limit, "slower_than_dense": clearly_ms / dense_ms - 1.0}


def _gate(
    constraints: dict[str, float], latency: Measurement, order: TrialOrder, bench: Workbench
) -> tuple[State, str | None]:
    """Whether the candidate is worth training. Baselines always are."""
    limit = bench.settings.objectives.latency.max_ms
    if order.baseline is not None:
        constraints.update(dict.fromkeys(constraints, 0.0))
        return "complete", None
    if constraints["latency_limit_ms"] > 0:
        return "infeasible", f"{latency.value:.3g} ms/image is above the limit of {limit:.3g}"
    if constraints["slower_than_dense"] > 0:
        return "infeasible", f"{latency.value:.3g} ms/image is slower than the dense base at the same sampler steps"
    return "complete", None


def _fine_tune(
    model: FlexDiT, order: TrialOrder, bench: Workbench, curve: list[tuple[int, float]], report: Report
) -> FlexDiT:
    settings = bench.settings.trial
    training = Training(
        model,
        process=bench.inputs.process,
        stream=bench.stream(order.seed),
        optimisation=settings,
        teacher=bench.teacher(order.seed) if settings.distillation else None,
    )
    steps = training.run()
    while training.num_done < settings.updates:
        with bench.turn.shared():
            step = next(steps)
        curve.append((step.update, step.loss))
        report(Progress(phase="fine-tune", done=step.update, total=settings.updates))
    averaged: FlexDiT = training.averaged  # type: ignore[assignment]  # of the model's own class
    return averaged


def _sample(model: FlexDiT, order: TrialOrder, bench: Workbench, report: Report) -> Tensor:
    """(N, C, H, W) uint8 images, or (N, C, F, H, W) videos."""
    fid, batches, done = bench.settings.objectives.fid, [], 0
    drawn = generate(
        model.eval(),
        bench.inputs.base.scheduler,
        conditions=bench.inputs.data.conditions,
        num_images=fid.images,
        batch=fid.batch,
        sampler_steps=order.candidate.sampler_steps,
        seed=order.seed,
        settings=bench.settings.sampling,
    )
    while done < fid.images:
        with bench.turn.shared():
            batch = next(drawn)
        batches.append(to_uint8(bench.inputs.decode(batch)).cpu())
        done += len(batch)
        report(Progress(phase="sample", done=done, total=fid.images))
    return torch.cat(batches)


def _quality(images: Tensor, order: TrialOrder, bench: Workbench) -> list[Measurement]:
    """The objective, then what is reported beside it."""
    sampling = bench.settings.sampling
    with bench.turn.shared():
        measured = measure_quality(images, judges=bench.inputs.judges, batch=bench.settings.objectives.fid.batch)
    facts = {
        "sampler": type(bench.inputs.base.scheduler).__name__,
        "guidance": sampling.guidance,
        "dtype": sampling.dtype,
        "seed": order.seed,
    }
    return [replace(found, protocol={**found.protocol, **facts}) for found in measured]


def _keep(model: FlexDiT, images: Tensor, order: TrialOrder) -> None:
    """Writes the averaged weights with their schedule, and a grid of the first images."""
    model.save_pretrained(order.trial_dir / CHECKPOINT, safe_serialization=True)
    shown = SHOWN_IMAGES if images.ndim == 4 else SHOWN_VIDEOS
    with replacing(order.trial_dir / "samples.png") as path:
        save_image(tiles(images[:shown]).float() / 255, path, nrow=10, padding=1)
