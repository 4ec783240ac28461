"""Make what all trials of a study share, before the first one: the warm start, the teacher's outputs, what the base
draws as a reference. Their time counts."""

import json
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from flexsearch.diffusion.training import Step
from flexsearch.errors import Note, NotFiniteError, UserError, reading
from flexsearch.files import copy_atomically, remove_abandoned, write_atomically, write_to_cache
from flexsearch.latency.hardware import device_name
from flexsearch.objectives.image_metric import ImageMetric
from flexsearch.objectives.paired_features import PairedFeatures
from flexsearch.objectives.quality import Evaluator
from flexsearch.objectives.settings import BASE
from flexsearch.paths import cache_folder, embedded_path
from flexsearch.trial import receipt as receipts
from flexsearch.trial.context import TrialContext, trial_context
from flexsearch.trial.data_gaussian import make_gaussian
from flexsearch.trial.device import trial_device
from flexsearch.trial.gradient_seeds import make_seeds
from flexsearch.trial.inputs import load_inputs
from flexsearch.trial.masks import make_masks
from flexsearch.trial.receipt import Receipt
from flexsearch.trial.settings import TrialSettings
from flexsearch.trial.shared_files import WARM_START_SEED, SharedFiles
from flexsearch.trial.teacher import write_teacher_outputs
from flexsearch.trial.teacher_samples import make_teacher_samples
from flexsearch.trial.warm_start import elastic_training, make_warm_start

PreparationReport = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """One shared file and what it cost: in this run, or in the run that made it if it was found ready."""

    what: str
    seconds: float
    device: str
    found: bool


def prepare(
    run_dir: Path, settings: TrialSettings, *, seed: int, report: PreparationReport, learns_seeds: bool = False
) -> list[Preparation]:
    """Make the shared files of a run that are not there yet, or damaged; no trial of it may run.

    Args:
        run_dir: the run directory.
        settings: what decides the files.
        seed: the study's seed, of the training stream.
        report: called with (what is made, steps done, steps in total).
        learns_seeds: whether the search begins with schedules that a gradient on the warm start finds.

    Returns:
        What was prepared, with its cost.

    Raises:
        UserError: the training data are not those that the run began with.
    """
    shared, done = SharedFiles.of(run_dir, settings), []
    remove_abandoned(shared.folder)
    _check_same_data(shared.folder / "data.json", settings)
    quality = settings.objectives.quality
    if quality.reference == BASE and quality.metrics:
        done.append(_reference(settings, report))
    if quality.compares_pairs:
        done.append(_pairs(settings, seed, report))
    if settings.warm_start is not None and not settings.is_free:
        done.append(_warm_start(shared, settings, report))
    if settings.needs_teacher_outputs:
        done.append(_teacher_outputs(shared, settings, seed, report))
    if settings.search_space.starts:
        done.append(_made("data Gaussian", shared.data_gaussian(settings), make_gaussian, shared, seed, report))
    if settings.teacher_samples is not None and settings.trial.updates and not settings.is_free:
        path = shared.teacher_samples(settings)
        done.append(_made("teacher", path, make_teacher_samples, shared, seed, report))
    if settings.search_space.plans_masks:
        done.append(_made("masks", shared.masks(settings, seed=seed), make_masks, shared, seed, report))
    if learns_seeds:
        path = shared.gradient_seeds(settings, seed=seed)
        done.append(_made("gradient seeds", path, make_seeds, shared, seed, report))
    return done


def warm_start_cache() -> Path:
    """Give the folder where warm starts are kept for other runs of the same configuration."""
    return cache_folder("warm_starts")


def _check_same_data(path: Path, settings: TrialSettings) -> None:
    """Compare training data, and the file of a metric of the user's own, with those that the run began with; note them
    where it begins.

    Raises:
        UserError: they changed, so that trials before and after could not be compared.
    """
    data = None if settings.data.is_shipped or not settings.data.can_train else load_inputs(settings).data
    metric = settings.objectives.quality.function
    found = {} if data is None else {"digest": data.digest}
    found |= {} if metric is None else {"metric": metric.identity["source"]}
    if not found:
        return
    if not path.exists():
        write_atomically(path, json.dumps(found))
    with reading(path):
        before = {"digest": "", "metric": "", **json.loads(path.read_text(encoding="utf-8"))}
    for what, field in (("digest", f"data.root: {settings.data.root}"), ("metric", "objectives.quality.callable")):
        if what in found and before[what] != found[what]:
            kind = "other data" if what == "digest" else "another source"
            raise UserError(
                f"holds {kind} ({found[what]}) than when this run began ({before[what]}); put those back, or begin "
                "another with --run-dir",
                field=field,
            )


def _reference(settings: TrialSettings, report: PreparationReport) -> Preparation:
    inputs, drawn = load_inputs(settings), []

    def drawing(done: int, total: int) -> None:
        drawn.append(done)
        report("reference", done, total)

    seconds = sum(one.reference.seconds for one in inputs.load_evaluators(drawing) if isinstance(one, Evaluator))
    return Preparation(what="reference", seconds=seconds, device=device_name(inputs.device), found=not drawn)


def _pairs(settings: TrialSettings, seed: int, report: PreparationReport) -> Preparation:
    """Have the base draw, from the trials' noise, what they are compared with."""
    inputs, drawn = load_inputs(settings), []

    def drawing(done: int, total: int) -> None:
        drawn.append(done)
        report("pairs", done, total)

    begun = time.monotonic()
    evaluators = inputs.load_evaluators(drawing)
    pairs = next(one.pairs for one in evaluators if isinstance(one, ImageMetric | PairedFeatures))
    pairs(seed, settings.objectives.quality.images)
    seconds = time.monotonic() - begun if drawn else 0.0
    return Preparation(what="pairs", seconds=seconds, device=device_name(inputs.device), found=not drawn)


class _Make(Protocol):
    def __call__(self, path: Path, context: TrialContext, *, seed: int, report: Callable[[int, int], None]) -> None: ...


def _made(what: str, path: Path, make: _Make, shared: SharedFiles, seed: int, report: PreparationReport) -> Preparation:
    """A file that base and warm start decide."""

    def work(tick: Callable[[], None]) -> None:
        def told(done: int, total: int) -> None:
            tick()
            report(what, done, total)

        make(path, trial_context(shared.folder.parent), seed=seed, report=told)

    return _found_or_made(path, ".receipt.json", what, work)


def _found_or_made(path: Path, suffix: str, what: str, work: Callable[[Callable[[], None]], None]) -> Preparation:
    receipt = path.with_suffix(suffix)
    found = receipts.kept(path, receipt)
    if found is not None:
        return _preparation(found, found=True)
    _note_damage(path, receipt)
    return _preparation(
        receipts.make(path, receipt, what=what, device=device_name(trial_device()), work=work), found=False
    )


def _note_damage(path: Path, receipt: Path) -> None:
    if path.exists() and receipt.exists():
        warnings.warn(f"{path} or its receipt is damaged: it is made again", Note, stacklevel=2)


def _preparation(receipt: Receipt, *, found: bool) -> Preparation:
    return Preparation(what=receipt.what, seconds=receipt.seconds, device=receipt.device, found=found)


def _warm_start(shared: SharedFiles, settings: TrialSettings, report: PreparationReport) -> Preparation:
    path, optimisation = shared.warm_start, settings.warm_start
    receipt = path.with_suffix(".json")
    assert optimisation is not None

    def work(tick: Callable[[], None]) -> None:
        def told(step: Step) -> None:
            tick()
            report("warm start", step.update, optimisation.updates)

        inputs = load_inputs(settings)
        training = elastic_training(
            inputs.base,
            space=settings.search_space,
            data=inputs.training_data,
            settings=optimisation,
            seed=WARM_START_SEED,
            guidance=settings.sampling.embedded_guidance(inputs.base.model.shape),
        )
        try:
            make_warm_start(path, training, report=told)
        except NotFiniteError as error:
            raise error.under("warm_start") from None

    if receipts.kept(path, receipt) is None:
        for folder in (embedded_path("quickstart"), warm_start_cache()):
            ready, its_receipt = folder / path.name, folder / receipt.name
            if receipts.kept(ready, its_receipt) is not None:
                copy_atomically(ready, path)
                copy_atomically(its_receipt, receipt)
                break
            _note_damage(ready, its_receipt)
    made = _found_or_made(path, receipt.suffix, "warm start", work)
    if not made.found:
        for file in (path, receipt):
            write_to_cache(warm_start_cache() / file.name, partial(shutil.copyfile, file))
    return made


def _teacher_outputs(shared: SharedFiles, settings: TrialSettings, seed: int, report: PreparationReport) -> Preparation:
    path, updates = shared.teacher_outputs(settings, seed=seed), settings.trial.updates

    def work(tick: Callable[[], None]) -> None:
        def told(done: int) -> None:
            tick()
            report("teacher", done, updates)

        inputs = load_inputs(settings)
        write_teacher_outputs(
            path,
            base=inputs.base.model,
            process=inputs.process,
            stream=trial_context(shared.folder.parent).stream(seed),
            updates=updates,
            report=told,
        )

    return _found_or_made(path, ".json", "teacher", work)
