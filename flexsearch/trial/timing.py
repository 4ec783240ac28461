"""The latency of a trial's candidate, with the device to itself, and whether it is worth training."""

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flexsearch.errors import Note, UserError, shown
from flexsearch.files import read_json, write_atomically
from flexsearch.latency import gate, quiet
from flexsearch.latency.compiler import check_compiler
from flexsearch.latency.hardware import hardware_of
from flexsearch.latency.image_timer import ImageTimer
from flexsearch.latency.memory import check_can_measure
from flexsearch.measurement import Measurement
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.candidate import Candidate
from flexsearch.trial.context import TrialContext, trial_context
from flexsearch.trial.contract import TrialOrder, TrialResult
from flexsearch.trial.device import trial_device
from flexsearch.trial.inputs import Inputs, load_inputs
from flexsearch.trial.profiles import load_profile
from flexsearch.trial.settings import TrialSettings


def latency_of(model: FlexDiT, order: TrialOrder, context: TrialContext) -> TrialResult:
    """Decide the trial as far as its latency does: "complete" if it is to go on, "infeasible" if it is not.

    Baselines always go on.

    Raises:
        UserError: the run's trials are timed on other hardware.
    """
    _check_hardware(order.run_dir / "hardware.json", context)
    max_ms, is_baseline = context.settings.objectives.latency.max_ms, order.baseline is not None
    found = (None if is_baseline else _predicted(order, context)) or time_images(model, order, context)
    (latency, *beside), constraints = found
    if is_baseline:
        constraints = dict.fromkeys(constraints, 0.0)
    reason = gate.infeasible_reason(latency, constraints, max_ms=max_ms)
    return TrialResult(
        state="complete" if reason is None else "infeasible",
        measurements={one.name: one for one in (latency, *beside)},
        constraints=constraints,
        reason=reason,
    )


def _check_hardware(path: Path, context: TrialContext) -> None:
    """Compare this hardware with that of the run's first trial, which is noted in `path`.

    Raises:
        UserError: it is another.
    """
    settings = context.settings.objectives.latency
    here = hardware_of(context.inputs.device, settings)
    try:
        first = read_json(path)
    except (OSError, ValueError):
        if path.exists():
            warnings.warn(f"{path} is damaged: it is made again, of this hardware", Note, stacklevel=2)
        write_atomically(path, json.dumps(here))
        return
    unlike = [name for name in here if first.get(name) != here[name]]
    others = [f"{name} {shown(first.get(name))}, not {shown(here[name])}" for name in unlike]
    if others and not settings.mixed:
        raise UserError(
            f"this run's trials are timed on {'; '.join(others)}; go on there, begin another run, or mix them with "
            "--set objectives.latency.mixed=true",
            field=str(path),
        )


def _predicted(order: TrialOrder, context: TrialContext) -> tuple[list[Measurement], dict[str, float]] | None:
    """Predict latency and constraints without timing, where a latency profile of this device leaves no doubt."""
    max_ms = context.settings.objectives.latency.max_ms
    profile = None if max_ms is None else load_profile(context.settings)
    known = _known_ms(_reference(timer_of(context.settings, context.inputs), context)[0])
    plan = context.space.plan(order.candidate)
    found = gate.predicted_infeasible(plan, profile, max_ms=max_ms, reference_ms=known)
    if found is None:
        return None
    unknown = {} if context.settings.objectives.memory.max_gb is None else {gate.MEMORY_LIMIT: 0.0}
    return [found[0]], {**found[1], **unknown}


def disturbance(settings: TrialSettings) -> str | None:
    """Say what else this machine does that would disturb a timing of these settings; None if nothing."""
    return quiet.disturbance(trial_device(), threads=settings.objectives.latency.threads)


def time_images(model: FlexDiT, order: TrialOrder, context: TrialContext) -> tuple[list[Measurement], dict[str, float]]:
    """Measure latency per image, with what is measured beside it, and by how much it breaks each limit (at most 0 is
    within)."""
    plan, timer = context.space.plan(order.candidate), timer_of(context.settings, context.inputs)
    path, facts = _reference(timer, context)
    with context.device_lock.shared():
        timer.compile(plan, model=model)
    with context.device_lock.exclusive():
        known = _known_ms(path)
        measured, measured_ms = timer.measure_both(plan, model=model, reference_ms=known)
        memory = timer.measure_memory(plan, model=model)
        if known is None:
            write_atomically(path, json.dumps({"reference_ms": measured_ms, **facts}))
    constraints = gate.constraints_of(
        measured[0],
        plan,
        max_ms=timer.settings.max_ms,
        reference=timer.reference,
        reference_ms=(known or measured_ms) / timer.settings.batch,
    )
    constraints |= gate.memory_constraint(memory, max_gb=context.settings.objectives.memory.max_gb)
    return [*measured, *([] if memory is None else [memory])], constraints


def check_device(settings: TrialSettings) -> None:
    """Check that graphs can be compiled here, where they are to be, and memory measured, where it has a limit.

    Raises:
        UserError: they cannot; says why.
    """
    if settings.objectives.latency.compile:
        check_compiler(trial_device())
    check_can_measure(trial_device(), max_gb=settings.objectives.memory.max_gb)


def time_together(candidates: Sequence[Candidate], run_dir: Path) -> list[list[Measurement]]:
    """Measure latencies again as the trials of a run measured them, with what was measured beside each, but
    interleaved, with the device to itself.

    Raises:
        UserError: the run's trials are timed on other hardware.
    """
    context = trial_context(run_dir)
    _check_hardware(run_dir / "hardware.json", context)
    timer = timer_of(context.settings, context.inputs)
    path, _ = _reference(timer, context)
    model = timer.base.model.view()  # it gets weights
    plans = [context.space.plan(candidate) for candidate in candidates]
    with context.device_lock.exclusive():
        return timer.measure_together(plans, model=model, reference_ms=_known_ms(path))


def check_budget(settings: TrialSettings) -> None:
    """Time the candidates of the space that should be fastest, where there is a limit.

    Raises:
        UserError: even the fastest of them is above `objectives.latency.max_ms`; names the least latency in reach.
    """
    if settings.objectives.latency.max_ms is not None:
        timer = timer_of(settings, load_inputs(settings))
        own = replace(timer, base=replace(timer.base, model=timer.base.model.view()))  # it gets weights
        gate.check_budget(own, settings.search_space, profile=load_profile(settings))


def timer_of(settings: TrialSettings, inputs: Inputs) -> ImageTimer:
    """Time images as trials draw them: with the conditions of their first samples."""
    check_device(settings)
    conditions, batch = inputs.conditions, settings.objectives.latency.batch
    return ImageTimer(
        base=inputs.base,
        target=settings.search_space.target,
        settings=settings.objectives.latency,
        sampling=settings.sampling,
        condition=conditions.of_samples(range(batch)),
        none=conditions.none(batch),
    )


def _reference(timer: ImageTimer, context: TrialContext) -> tuple[Path, dict[str, Any]]:
    """Say where the reference workload's latency on this device is kept, and what it depends on."""
    protocol = {"sampler": timer.target.clock.scheduler, **timer.protocol}
    facts = {name: protocol[name] for name in ("device", "batch", "sampler", "guidance", "dtype")}
    if timer.settings.compile:
        facts["compile"] = True
    return context.shared.reference_latency(facts), facts


def _known_ms(path: Path) -> float | None:
    """Read the reference workload's latency; None where it was not measured, or its file is damaged."""
    try:
        known = float(read_json(path)["reference_ms"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        warnings.warn(f"{path} is damaged: the reference latency is measured again", Note, stacklevel=2)
        return None
    return known if 0 < known < math.inf else None
