"""The latency of a trial's candidate, and whether it is worth training.

A candidate that a latency profile of this device puts clearly above the limit is not timed. Every other one is, end to
end, so that all points of a front are.
"""

import json
from pathlib import Path
from typing import Any

from flexsearch.files import write_atomically
from flexsearch.measurement import Measurement
from flexsearch.models.flexdit import FlexDiT
from flexsearch.objectives.generation import generation
from flexsearch.objectives.latency import (
    REFERENCE_STEPS,
    Workload,
    cpu_threads,
    device_name,
    measure_latency,
)
from flexsearch.trial.contract import State, TrialOrder, TrialResult
from flexsearch.trial.foresight import predicted_infeasible
from flexsearch.trial.profile import load_profile
from flexsearch.trial.context import TrialContext


def latency_of(model: FlexDiT, order: TrialOrder, context: TrialContext) -> TrialResult:
    """The trial as far as its latency decides it: "complete" if it is to go on, "infeasible" if it is not."""
    predicted = None if order.baseline is not None else _predicted_infeasible(order, context)
    if predicted is not None:
        return predicted
    latency, constraints = time_images(model, order, context)
    state, reason = _gate(constraints, latency, order, context)
    return TrialResult(state=state, measurements={latency.name: latency}, constraints=constraints, reason=reason)


def _batch_of(model: FlexDiT, sampler_steps: int, context: TrialContext) -> Workload:
    """Generating one batch of images."""
    inputs, batch = context.inputs, context.settings.objectives.latency.batch
    return generation(
        model,
        inputs.base.scheduler,
        condition=inputs.data.conditions.of_samples(range(batch)),
        none=inputs.data.conditions.none(batch),
        sampler_steps=sampler_steps,
        sampling=context.settings.sampling,
    )


def _reference(context: TrialContext) -> tuple[Path, dict[str, Any]]:
    """Where the dense base's latency on this device is kept, and what it depends on."""
    settings, sampling = context.settings.objectives.latency, context.settings.sampling
    with cpu_threads(settings.threads):
        hardware = {
            "device": device_name(context.inputs.device),
            "batch": settings.batch,
            "sampler": type(context.inputs.base.scheduler).__name__,
            "guidance": sampling.guidance,
            "dtype": sampling.dtype,
        }
    return context.shared.reference_latency(hardware), hardware


def _reference_ms(path: Path) -> float | None:
    known: float | None = json.loads(path.read_text())["reference_ms"] if path.exists() else None
    return known


def _predicted_infeasible(order: TrialOrder, context: TrialContext) -> TrialResult | None:
    """The result without timing, where a latency profile of this device leaves no doubt."""
    limit = context.settings.objectives.latency.max_ms
    profile = None if limit is None else load_profile(context.settings)
    if profile is not None and profile.protocol["sampler"] != type(context.inputs.base.scheduler).__name__:
        return None
    known = _reference_ms(_reference(context)[0])
    return predicted_infeasible(order.candidate, profile, max_ms=limit, reference_ms=known)


def time_images(model: FlexDiT, order: TrialOrder, context: TrialContext) -> tuple[Measurement, dict[str, float]]:
    """Latency per image, and by how much it breaks each limit (at most 0 is within)."""
    settings, steps = context.settings.objectives.latency, order.candidate.sampling.steps
    path, hardware = _reference(context)
    with context.device_lock.alone():
        known = _reference_ms(path)
        latency, measured_ms = measure_latency(
            _batch_of(model, steps, context),
            _batch_of(context.inputs.base.model, REFERENCE_STEPS, context),
            reference_ms=known,
            settings=settings,
            device=context.inputs.device,
            protocol={key: hardware[key] for key in ("sampler", "guidance", "dtype")},
        )
        if known is None:
            write_atomically(path, json.dumps({"reference_ms": measured_ms, **hardware}))
    dense_ms = (known or measured_ms) / settings.batch * steps / REFERENCE_STEPS
    limit = latency.value - settings.max_ms if settings.max_ms is not None else -1.0
    clearly_ms = latency.value - (latency.spread or 0.0)  # what only noise makes slower is not gated
    return latency, {"latency_limit_ms": limit, "slower_than_dense": clearly_ms / dense_ms - 1.0}


def _gate(
    constraints: dict[str, float], latency: Measurement, order: TrialOrder, context: TrialContext
) -> tuple[State, str | None]:
    """Whether the candidate is worth training. Baselines always are."""
    limit = context.settings.objectives.latency.max_ms
    if order.baseline is not None:
        constraints.update(dict.fromkeys(constraints, 0.0))
        return "complete", None
    if constraints["latency_limit_ms"] > 0:
        return "infeasible", f"{latency.value:.3g} ms/image is above the limit of {limit:.3g}"
    if constraints["slower_than_dense"] > 0:
        return "infeasible", f"{latency.value:.3g} ms/image is slower than the dense base at the same sampler steps"
    return "complete", None
