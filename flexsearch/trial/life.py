"""The life of a trial, top to bottom, cheapest evidence first.

MACs, then measured latency with the device to itself, then the gate, then a short fine-tune from the warm start (or
the weights that another trial of the schedule has left), then samples, then their distance to real images. Everything
that a trial leaves lies in `trials/<number>/`.
"""

from dataclasses import replace
from functools import partial

from torch import Tensor
from torchvision.utils import save_image

from flexsearch.data.images import tiles
from flexsearch.diffusion.training import Training
from flexsearch.errors import NotFiniteError
from flexsearch.files import remove_abandoned, replacing
from flexsearch.measurement import Measurement
from flexsearch.models.flexdit import FlexDiT
from flexsearch.objectives.quality import measure_quality
from flexsearch.schedule.plan import Plan
from flexsearch.trial.clock import Clock, Meter
from flexsearch.trial.context import TrialContext, trial_context
from flexsearch.trial.contract import Progress, Report, Rung, State, TrialOrder, TrialResult
from flexsearch.trial.drawing import draw_all
from flexsearch.trial.protocol import with_protocol
from flexsearch.trial.result_file import lost_seconds, write_result, write_seconds
from flexsearch.trial.teacher_samples import sample_training
from flexsearch.trial.timing import latency_of
from flexsearch.trial.weights import Origin, keep_weights, link_model, load_weights

SHOWN_IMAGES = 40
SHOWN_VIDEOS = 4
CHECKPOINT = "model"


def run_trial(order: TrialOrder, report: Report) -> TrialResult:
    """Evaluate one candidate and write `trials/<number>/`.

    Args:
        order: what to evaluate.
        report: called as the trial goes on.

    Returns:
        The result, which also lies in `trials/<number>/result.json`.
    """
    remove_abandoned(order.trial_dir)
    with Meter(lost_seconds(order), save=partial(write_seconds, order)) as meter:

        def ticking(progress: Progress) -> bool:
            meter.tick()
            return report(progress)

        result = _evaluate(order, ticking, lost=meter.before).if_finite()
        write_result(order, result)
    return result


def _evaluate(order: TrialOrder, report: Report, *, lost: float) -> TrialResult:
    """Take a candidate through its measurements; `lost` seconds went into attempts before."""
    clock = Clock()
    with clock.phase("prepare"):
        report(Progress(phase="prepare"))
        context = trial_context(order.run_dir)
        schedule, trains = order.candidate.schedule, _trains(order, context)
        shared = context.shared.weights(context.settings, schedule, seed=order.seed, trains=trains)
        model = context.start.clone() if trains else context.inputs.base.model.view()
        model.set_schedule(schedule)
        model.drop_unused_weights()
        plan = context.space.plan(order.candidate)
        measurements = {"macs": _macs(plan)}
    constraints: dict[str, float] = {}
    curve: list[tuple[int, float]] = []
    rungs: list[Rung] = []
    state: State = "complete"
    reason = None
    origin: Origin | None = None
    if order.kind == "trial":
        with clock.phase("latency"):
            report(Progress(phase="latency"))
            found = latency_of(model, order, context)
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
            lost_seconds=lost,
            reason=reason,
        )

    if state == "complete" and trains:
        with clock.phase("prepare"):
            origin = load_weights(shared, model)
        if origin is not None and origin.trial == order.number:  # an attempt that was cut short later
            curve, rungs = list(origin.curve), list(origin.rungs)
            clock.seconds |= origin.seconds
            lost = max(0.0, lost - sum(origin.seconds.values()))
        elif origin is not None:
            reason = f"it has the weights that trial {origin.trial} trained"
        trains = origin is None
    if state == "complete" and trains:
        training = _training(model, order, context)
        try:
            for updates in _rungs(order, context):
                with clock.phase("fine-tune"):
                    _train(training, updates, context, report, curve)
                with clock.phase("rung"):
                    rungs.append(_rung(training, order, context, report))
                here = replace(
                    so_far(), state="pruned", reason=f"others were better after {updates} fine-tuning updates"
                )
                if not report(Progress(phase="rung", so_far=here)):
                    state, reason = here.state, here.reason
                    break
            else:
                with clock.phase("fine-tune"):
                    _train(training, training.optimisation.updates, context, report, curve)
                    training.check_weights()
                model = training.averaged  # type: ignore[assignment]  # of the model's own class
                spent = {name: seconds for name, seconds in clock.seconds.items() if name in ("fine-tune", "rung")}
                origin = Origin(trial=order.number, curve=tuple(curve), rungs=tuple(rungs), seconds=spent)
                keep_weights(shared, model, origin=origin)
        except NotFiniteError as error:
            state, reason = "failed", error.message
    if state == "complete":
        with clock.phase("sample"):
            images = _draw(model, order, context, report, num=context.settings.objectives.quality.images)
        with clock.phase("score"):
            report(Progress(phase="score"))
            measurements |= {measured.name: measured for measured in _quality(images, order, context)}
        if order.kind == "trial":
            keep_weights(shared, model, origin=origin or Origin(trial=order.number))
            link_model(shared, order.trial_dir / CHECKPOINT)
            _keep_samples(images, order)
    return so_far()


def _trains(order: TrialOrder, context: TrialContext) -> bool:
    """Tell whether the trial's weights are trained."""
    return order.trains and not context.settings.is_free


def _macs(plan: Plan) -> Measurement:
    return Measurement(
        name="macs",
        value=plan.macs,
        unit="MACs/image",
        protocol={"count": "matrix products and convolutions of one image: all sampler steps, all rows of guidance"},
    )


def _training(model: FlexDiT, order: TrialOrder, context: TrialContext) -> Training:
    settings = context.settings.trial
    if context.settings.teacher_samples is not None and settings.updates:
        return sample_training(model, context)
    return Training(
        model,
        process=context.inputs.process,
        stream=context.stream(order.seed),
        optimisation=settings,
        teacher=context.teacher(order.seed) if settings.distillation else None,
    )


def _rungs(order: TrialOrder, context: TrialContext) -> tuple[int, ...]:
    """Give the updates at which the trial is compared with others."""
    early = context.settings.early_stopping
    return () if early is None or order.kind != "trial" else early.updates(context.settings.trial.updates)


def _train(
    training: Training, until: int, context: TrialContext, report: Report, curve: list[tuple[int, float]]
) -> None:
    """Train on; add (update, loss) pairs to the curve."""
    steps = training.run()
    while training.num_done < until:
        with context.device_lock.shared():
            step = next(steps)
        curve.append((step.update, step.loss))
        report(Progress(phase="fine-tune", done=step.update, total=training.optimisation.updates))


def _rung(training: Training, order: TrialOrder, context: TrialContext, report: Report) -> Rung:
    """Measure the objective, on a rung's images."""
    assert context.settings.early_stopping is not None
    model: FlexDiT = training.averaged  # type: ignore[assignment]  # of the model's own class
    num = context.settings.early_stopping.images or context.settings.objectives.quality.images
    images = _draw(model, order, context, report, num=num)
    evaluators, batch = context.inputs.evaluators[:1], context.settings.objectives.quality.batch
    with context.device_lock.shared():
        quality, *_ = measure_quality(images, evaluators=evaluators, batch=batch, seed=order.seed)
    return Rung(updates=training.num_done, quality=quality.value)


def _draw(model: FlexDiT, order: TrialOrder, context: TrialContext, report: Report, *, num: int) -> Tensor:
    """Draw the trial's samples."""
    return draw_all(model, context.space.plan(order.candidate), context, report, num=num, seed=order.seed)


def _quality(images: Tensor, order: TrialOrder, context: TrialContext) -> list[Measurement]:
    """Measure the objective, then what is reported beside it."""
    evaluators, batch = context.inputs.evaluators, context.settings.objectives.quality.batch
    with context.device_lock.shared():
        measured = measure_quality(images, evaluators=evaluators, batch=batch, seed=order.seed)
    return with_protocol(measured, context.space.target.clock, context.settings.sampling, seed=order.seed)


def _keep_samples(images: Tensor, order: TrialOrder) -> None:
    """Write a grid of the first images."""
    shown = SHOWN_IMAGES if images.ndim == 4 else SHOWN_VIDEOS
    with replacing(order.trial_dir / "samples.png") as path:
        save_image(tiles(images[:shown]).float() / 255, path, nrow=10, padding=1)
