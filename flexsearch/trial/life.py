"""The life of a trial, top to bottom, cheapest evidence first.

MACs, then measured latency with the device to itself, then the gate, then a short fine-tune from the warm start, then
samples, then their distance to real images. Everything that a trial leaves lies in `trials/<number>/`.
"""

import json
from dataclasses import replace

from torch import Tensor
from torchvision.utils import save_image

from flexsearch.data.images import tiles
from flexsearch.diffusion.sampling import sampler_times
from flexsearch.diffusion.training import Training
from flexsearch.files import replacing, write_atomically
from flexsearch.measurement import Measurement
from flexsearch.models.flexdit import FlexDiT
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.quality import measure_features, measure_quality
from flexsearch.schedule.macs import plan_macs
from flexsearch.trial.clock import Clock
from flexsearch.trial.contract import Progress, Report, Rung, State, TrialOrder, TrialResult
from flexsearch.trial.drawing import draw_all
from flexsearch.trial.drift import ensure_reference, is_reference, keep_reference, measure_drift
from flexsearch.trial.latency import latency_of
from flexsearch.trial.protocol import with_protocol
from flexsearch.trial.workbench import Workbench, workbench

SHOWN_IMAGES = 40
SHOWN_VIDEOS = 4
CHECKPOINT = "model"


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
    rungs: list[Rung] = []
    state: State = "complete"
    reason = None
    if not order.is_repetition:
        with clock.phase("latency"):
            report(Progress(phase="latency"))
            found = latency_of(model, order, bench)
            measurements |= found.measurements
            constraints, state, reason = dict(found.constraints), found.state, found.reason

    def so_far() -> TrialResult:
        return TrialResult(
            state=state,
            measurements=measurements,
            constraints=constraints,
            curve=tuple(curve),
            rungs=tuple(rungs),
            seconds=dict(clock.seconds),
            reason=reason,
        )

    if state == "complete" and order.fine_tuned:
        training = _training(model, order, bench)
        for updates in _rungs(order, bench):
            with clock.phase("fine-tune"):
                curve += _train(training, updates, bench, report)
            with clock.phase("rung"):
                rungs.append(_rung(training, order, bench, report))
            here = replace(so_far(), state="pruned", reason=f"others were better after {updates} own updates")
            if not report(Progress(phase="rung", so_far=here)):
                state, reason = here.state, here.reason
                break
        else:
            with clock.phase("fine-tune"):
                curve += _train(training, training.optimisation.updates, bench, report)
            model = training.averaged  # type: ignore[assignment]  # of the model's own class
    if state == "complete":
        with clock.phase("sample"):
            images = _draw(model, order, bench, report, num=bench.settings.objectives.fid.images)
        with clock.phase("score"):
            report(Progress(phase="score"))
            measurements |= {measured.name: measured for measured in _quality(images, order, bench)}
        if not order.is_repetition:
            _keep(model, images, order)
    result = so_far()
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


def _training(model: FlexDiT, order: TrialOrder, bench: Workbench) -> Training:
    settings = bench.settings.trial
    if order.updates is not None:
        settings = replace(settings, updates=order.updates)
    return Training(
        model,
        process=bench.inputs.process,
        stream=bench.stream(order.seed),
        optimisation=settings,
        teacher=bench.teacher(order.seed, settings.updates) if settings.distillation else None,
    )


def _rungs(order: TrialOrder, bench: Workbench) -> tuple[int, ...]:
    """The own updates at which the trial is compared with others."""
    early = bench.settings.early_stopping
    return () if early is None or order.is_repetition else early.updates(bench.settings.trial.updates)


def _train(training: Training, until: int, bench: Workbench, report: Report) -> list[tuple[int, float]]:
    """Trains on; gives (update, loss) pairs."""
    curve, steps = [], training.run()
    while training.num_done < until:
        with bench.turn.shared():
            step = next(steps)
        curve.append((step.update, step.loss))
        report(Progress(phase="fine-tune", done=step.update, total=training.optimisation.updates))
    return curve


def _rung(training: Training, order: TrialOrder, bench: Workbench, report: Report) -> Rung:
    """The objective and the drift, on a rung's images."""
    assert bench.settings.early_stopping is not None
    model: FlexDiT = training.averaged  # type: ignore[assignment]  # of the model's own class
    num = bench.settings.early_stopping.images or bench.settings.objectives.fid.images
    images = _draw(model, order, bench, report, num=num)
    judge, batch = bench.inputs.judges[0], bench.settings.objectives.fid.batch
    with bench.turn.shared():
        features = extract_features(images, extractor=judge.extractor, batch=batch)
        quality = measure_features(features, judge=judge)[0].value
    drift = measure_drift(features, order, bench).value if _has_drift(order, bench) else None
    return Rung(updates=training.num_done, quality=quality, drift=drift)


def _has_drift(order: TrialOrder, bench: Workbench) -> bool:
    return bench.settings.objectives.fid.drift and not order.is_repetition


def _draw(model: FlexDiT, order: TrialOrder, bench: Workbench, report: Report, *, num: int) -> Tensor:
    """The trial's samples; those that they drift from are there as well afterwards."""
    images = draw_all(model, order, bench, report, num=num)
    if _has_drift(order, bench) and not is_reference(order, bench):
        ensure_reference(order, bench, report)
    return images


def _quality(images: Tensor, order: TrialOrder, bench: Workbench) -> list[Measurement]:
    """The objective, then what is reported beside it, then the drift."""
    (first, *others), batch = bench.inputs.judges, bench.settings.objectives.fid.batch
    with bench.turn.shared():
        features = extract_features(images, extractor=first.extractor, batch=batch)
        measured = measure_features(features, judge=first) + measure_quality(images, judges=others, batch=batch)
    if _has_drift(order, bench):
        if is_reference(order, bench):
            keep_reference(features, order, bench)
        measured.append(measure_drift(features, order, bench))
    return with_protocol(measured, bench.inputs.base.scheduler, bench.settings.sampling, seed=order.seed)


def _keep(model: FlexDiT, images: Tensor, order: TrialOrder) -> None:
    """Writes the averaged weights with their schedule, and a grid of the first images."""
    model.save_pretrained(order.trial_dir / CHECKPOINT, safe_serialization=True)
    shown = SHOWN_IMAGES if images.ndim == 4 else SHOWN_VIDEOS
    with replacing(order.trial_dir / "samples.png") as path:
        save_image(tiles(images[:shown]).float() / 255, path, nrow=10, padding=1)
