"""The long training run of a recipe, top to bottom. Everything it leaves lies in its folder OUT.

`training.yaml` (the recipe as it is trained), `training.csv`, `evaluations.json`, `checkpoint/` while it runs; at the
end the pieces of an exported model, so that the result is drawn from, or trained further, like any other.
"""

import math
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from flexsearch.cpu_memory import keep_freed_memory
from flexsearch.diffusion.batches import BatchStream
from flexsearch.diffusion.process import MIN_SNR, process_of
from flexsearch.diffusion.sample_distillation import SampleDistillation, SampleStream
from flexsearch.diffusion.sampling import target_of
from flexsearch.diffusion.training import Step, Training
from flexsearch.errors import UserError
from flexsearch.export.card import write_card
from flexsearch.export.evaluation import evaluate
from flexsearch.export.folder import CANDIDATE, TRANSFORMER, move_pieces, with_folded_gain, written
from flexsearch.export.processes import Processes
from flexsearch.export.recipe import BASE, Recipe, first_difference
from flexsearch.export.training_log import Evaluations, TrainingLog, TrainingRecord
from flexsearch.files import write_atomically
from flexsearch.measurement import Measurement
from flexsearch.models.fingerprint import Fingerprint
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.fold import unfold_gain
from flexsearch.models.loading import load_exported
from flexsearch.models.settings import base_clock
from flexsearch.old_names import as_it_was_written
from flexsearch.process_lock import one_process
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.converged import converged
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.plan import lower
from flexsearch.settings_file import checked, read_values
from flexsearch.trial.inputs import Inputs, load_inputs
from flexsearch.trial.resumable import resume, train_on
from flexsearch.trial.teacher import live_teacher
from flexsearch.trial.teacher_samples import SAMPLES_SEED, draws, live_samples

TRAINED_BY = "training.yaml"
CHECKPOINT = Path("checkpoint") / "training.checkpoint"
_LOCK = "training.lock"


def is_finished(out: Path, recipe: Recipe) -> bool:
    """Tell whether OUT holds the trained model of this recipe.

    Raises:
        UserError: OUT is something else, or another recipe's; names the first field that differs.
    """
    if not (out / TRAINED_BY).exists():
        # A run that was refused, or died, before its first update leaves nothing but the lock's file.
        if out.exists() and (not out.is_dir() or any(path.name != _LOCK for path in out.iterdir())):
            raise UserError("exists already and is not a training run", field=str(out), nearest=f"{out}-trained")
        return False
    trained_by = checked(Recipe, as_it_was_written(read_values(out / TRAINED_BY)))
    changed = first_difference(trained_by.to_dict(), recipe.to_dict())
    if changed is not None:
        raise UserError(
            f"differs from the recipe that is trained in {out}; give it back its value, or train into another folder",
            field=changed,
            nearest=f"--out {out}-2",
        )
    return (out / CANDIDATE).exists() and not (out / CHECKPOINT).parent.exists()


def train(
    recipe: Recipe, *, folder: Path, out: Path, processes: Processes, report: Callable[[TrainingRecord], None]
) -> None:
    """Train a recipe into `out`, from its checkpoint if there is one. Every process calls this; the first one writes.

    Args:
        recipe: what to train and how.
        folder: of the recipe; `recipe.start` lies below it.
        out: folder of the run, which `is_finished` has looked at.
        processes: this process and its peers.
        report: called in the first process, after every update and measurement.

    Raises:
        UserError: an input is missing or does not fit; another process trains into `out`.
        KeyboardInterrupt: after the update that was being done, which is saved.
    """
    if recipe.base.dtype != "fp32":
        raise UserError("must be fp32, in which weights are trained", field="base.dtype", nearest="fp32")
    if recipe.base.offload is not None:
        raise UserError("must be null: weights are trained on the device", field="base.offload", nearest="null")
    share = processes.share(recipe.training.gradient_accumulation)
    share.check(recipe.training.batch)
    if not processes.is_first:
        _train(recipe, folder, out, processes, report)
        return
    with one_process(out / _LOCK, doing="trained"):
        _train(recipe, folder, out, processes, report)


def _train(
    recipe: Recipe, folder: Path, out: Path, processes: Processes, report: Callable[[TrainingRecord], None]
) -> None:
    keep_freed_memory()
    with processes.accelerator.main_process_first():  # the others find what it has cached
        inputs = load_inputs(recipe)
    training = _training(recipe, folder, inputs, processes)
    num_done = resume(training, out / CHECKPOINT)
    if processes.is_first:
        write_atomically(out / TRAINED_BY, recipe.to_yaml())
    training_log = TrainingLog(out, recipe, processes, report, resumed_at=num_done)
    since = time.perf_counter()

    def after(step: Step) -> None:
        nonlocal since
        seconds = time.perf_counter() - since
        measured = _measured(training, recipe, inputs, processes, at=step.update)
        rate = recipe.training.learning_rate_at(max(step.update - 1, 0))
        training_log.add(step, measured, learning_rate=rate, seconds=seconds)
        since = time.perf_counter()

    with closing(training_log.tracker):
        if num_done == 0:
            after(Step(update=0, loss=math.nan))
        train_on(training, out / CHECKPOINT, save_every=recipe.training.save_every, report=after)
    if processes.is_first:
        _finish(_averaged(training), recipe, inputs, out, training_log.evaluations)
    processes.accelerator.wait_for_everyone()


def _training(recipe: Recipe, folder: Path, inputs: Inputs, processes: Processes) -> Training:
    settings, model = recipe.training, _start(recipe, folder, inputs)
    if settings.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if recipe.teacher_samples is not None:
        return _taught_by_samples(model, recipe, inputs, processes)
    stream = BatchStream(
        data=inputs.training_data,
        batch=settings.batch,
        seed=settings.seed,
        edges=model.schedule.timetable.edges,
        label_dropout=settings.label_dropout,
        shift=base_clock(recipe.base).shift_at(model.shape.grid.num_tokens),
        guidance=recipe.sampling.embedded_guidance(model.shape),
    )
    return Training(
        model,
        process=process_of(inputs.base.scheduler, max_snr=MIN_SNR if settings.loss_weighting == "min_snr" else None),
        stream=stream,
        optimisation=settings,
        teacher=live_teacher(inputs.base.model) if settings.distillation else None,
        share=processes.share(settings.gradient_accumulation),
    )


def _taught_by_samples(model: FlexDiT, recipe: Recipe, inputs: Inputs, processes: Processes) -> Training:
    """Set up a training through the sampler.

    Raises:
        UserError: the recipe asks for what only training on data has.
    """
    settings, taught, sampling = recipe.training, recipe.teacher_samples, recipe.chosen.sampling
    assert taught is not None
    for name, off in (("distillation", 0.0), ("loss_weighting", "none")):
        if getattr(settings, name) != off:
            raise UserError(f"must be {off} where teacher_samples is set", field=f"training.{name}", nearest=off)
    if model.data_gaussian is not None:
        inputs.base.model.set_data_gaussian(model.data_gaussian)
    target = target_of(model, inputs.base.scheduler, recipe.sampling)
    dense = DensitySchedule.all_dense(model.shape.num_blocks)
    try:
        by_base = taught.taught_by(converged(2 * sampling.steps))
        by_schedule = taught.drawn_in(solver=sampling.solver, start=sampling.start)
    except UserError as error:
        raise error.under("teacher_samples") from None
    plan = lower(Candidate(schedule=dense, sampling=by_base), target)
    return SampleDistillation(
        model,
        draws=draws(inputs, model.schedule, by_schedule, target=target, by=recipe),
        process=inputs.process,
        stream=SampleStream(
            samples=live_samples(inputs, plan, by=recipe),
            num=None,
            conditions=inputs.conditions,
            batch=settings.batch,
            seed=SAMPLES_SEED,
        ),
        optimisation=settings,
        share=processes.share(settings.gradient_accumulation),
    )


def _start(recipe: Recipe, folder: Path, inputs: Inputs) -> FlexDiT:
    """Make the model at its first update: the weights that the recipe names, under its schedule."""
    model: FlexDiT
    if recipe.start == BASE:
        model = inputs.base.model.clone()
    else:
        weights = folder / recipe.start
        if not (weights / "config.json").is_file():
            raise UserError(f"{weights} holds no model", field="start", nearest=BASE)
        model = load_exported(weights, device=inputs.device)
        if model.shape != inputs.base.model.shape:
            raise UserError(f"{weights} is not a model of {recipe.base.checkpoint}", field="start", nearest=BASE)
        if recipe.folded is not None:
            unfold_gain(model, recipe.folded)
    model.set_schedule(recipe.chosen.schedule)
    model.drop_unused_weights()
    return model


def _averaged(training: Training) -> FlexDiT:
    averaged: Any = training.averaged
    model: FlexDiT = averaged
    return model


def _measured(
    training: Training, recipe: Recipe, inputs: Inputs, processes: Processes, *, at: int
) -> list[Measurement]:
    """Measure the averaged weights' quality, where one is due after `at` updates."""
    every, last = recipe.training.evaluate_every, recipe.training.updates
    if every is None or (at % every and at != last):
        return []
    return evaluate(_averaged(training), recipe, inputs, processes)


def _finish(model: FlexDiT, recipe: Recipe, inputs: Inputs, out: Path, evaluations: Evaluations) -> None:
    """Export the model: written and verified beside, then moved to its place piece by piece; then the run is over."""
    updates = recipe.training.updates
    fingerprint = Fingerprint.of(inputs.base.model.base, exported=model.base)
    trained = replace(with_folded_gain(model, recipe), start=TRANSFORMER, trained=recipe.trained + updates)
    measured = {
        "before training" if at == 0 else f"after {at} updates": found
        for at, found in evaluations.items()
        if at in (0, updates)
    }
    card = write_card(trained, made=_made(recipe), measured=measured)
    with written(
        out / "final",
        model=model,
        scheduler=inputs.base.scheduler,
        recipe=trained,
        card=card,
        fingerprint=fingerprint,
    ) as folder:
        move_pieces(folder, out)
    shutil.rmtree((out / CHECKPOINT).parent, ignore_errors=True)


def _made(recipe: Recipe) -> str:
    how, before = (
        recipe.training,
        f" It had been trained for {recipe.trained} updates before." if recipe.trained else "",
    )
    start = (
        "the dense base's weights" if recipe.start == BASE else "the averaged weights of the search's short fine-tune"
    )
    if recipe.trained and recipe.start != BASE:
        start = "the weights of an earlier training"
    weighted = ", Min-SNR-5 weights" if how.loss_weighting == "min_snr" else ""
    taught = f", taught by the dense base (weight {how.distillation:g})" if how.distillation else ""
    on = f"`{recipe.data.title}`" if recipe.teacher_samples is None else "samples of the dense base"
    return (
        f"Trained for {how.updates} updates of batch {how.batch} on {on}, from {start}{taught}: AdamW "
        f"at {how.learning_rate:g} ({how.decay}){weighted}, seed {how.seed}. These are the averaged weights (decay "
        f"{how.ema_decay:g}).{before} `training.yaml` is the recipe, `training.csv` the loss of every update."
    )
