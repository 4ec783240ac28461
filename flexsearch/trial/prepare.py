"""Make what all trials of a study share, before the first one: the warm start, the teacher's outputs, what the base
draws as a reference. Their time counts."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from flexsearch.errors import UserError, reading
from flexsearch.files import write_atomically
from flexsearch.latency.measure import device_name
from flexsearch.objectives.settings import BASE
from flexsearch.paths import cache_folder, embedded_path
from flexsearch.trial.context import TrialContext, trial_context
from flexsearch.trial.inputs import load_inputs
from flexsearch.trial.masks import make_masks
from flexsearch.trial.paired_distance import make_reference
from flexsearch.trial.settings import TrialSettings
from flexsearch.trial.shared_files import WARM_START_SEED, SharedFiles
from flexsearch.trial.teacher import write_teacher_outputs
from flexsearch.trial.warm_start import elastic_training, make_warm_start

PreparationReport = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """One shared file and what it cost: in this run, or in the run that made it if it was found ready."""

    what: str
    seconds: float
    device: str
    found: bool


def prepare(run_dir: Path, settings: TrialSettings, *, seed: int, report: PreparationReport) -> list[Preparation]:
    """Make the shared files of a run that are not there yet.

    Args:
        run_dir: the run directory.
        settings: what decides the files.
        seed: the study's seed, of the training stream.
        report: called with (what is made, steps done, steps in total).

    Returns:
        What was prepared, with its cost.

    Raises:
        UserError: the training data are not those that the run began with.
    """
    shared, done = SharedFiles.of(run_dir, settings), []
    _check_same_data(shared.folder / "data.json", settings)
    quality = settings.objectives.quality
    if quality.reference == BASE:
        done.append(_reference(settings, report))
    if settings.warm_start is not None and not settings.is_free:
        done.append(_warm_start(shared, settings, report))
    if settings.trial.distillation and settings.trial.updates and not settings.is_free:
        done.append(_teacher_outputs(shared, settings, seed, report))
    if quality.paired_distance:
        done.append(
            _made("paired reference", shared.dense_features(settings, seed=seed), make_reference, shared, seed, report)
        )
    if settings.search_space.plans_masks:
        done.append(_made("masks", shared.masks(settings, seed=seed), make_masks, shared, seed, report))
    return done


def warm_start_cache() -> Path:
    """Give the folder where warm starts are kept for other runs of the same configuration."""
    return cache_folder("warm_starts")


def _check_same_data(path: Path, settings: TrialSettings) -> None:
    """Compare the training data with those that the run began with; note them where it begins.

    Raises:
        UserError: they changed, so that trials before and after could not be compared.
    """
    data = None if settings.data.is_shipped or not settings.data.can_train else load_inputs(settings).data
    if data is None:
        return
    if not path.exists():
        write_atomically(path, json.dumps({"digest": data.digest}))
    with reading(path):
        before = json.loads(path.read_text())["digest"]
    if before != data.digest:
        raise UserError(
            f"holds other data ({data.digest}) than when this run began ({before}); put those back, or begin another "
            "with --run-dir",
            field=f"data.root: {settings.data.root}",
        )


def _reference(settings: TrialSettings, report: PreparationReport) -> Preparation:
    inputs, drawn = load_inputs(settings), []

    def drawing(done: int, total: int) -> None:
        drawn.append(done)
        report("reference", done, total)

    seconds = sum(one.reference.seconds for one in inputs.load_evaluators(drawing))
    return Preparation(what="reference", seconds=seconds, device=device_name(inputs.device), found=not drawn)


class _Make(Protocol):
    def __call__(self, path: Path, context: TrialContext, *, seed: int, report: Callable[[int, int], None]) -> None: ...


def _made(what: str, path: Path, make: _Make, shared: SharedFiles, seed: int, report: PreparationReport) -> Preparation:
    """A file that the dense base alone decides."""
    receipt = path.with_suffix(".receipt.json")
    if path.exists() and receipt.exists():
        return _receipt(receipt, found=True)
    context, begun = trial_context(shared.folder.parent), time.monotonic()
    make(path, context, seed=seed, report=partial(report, what))
    _write_receipt(receipt, what, time.monotonic() - begun, device_name(context.inputs.device))
    return _receipt(receipt, found=False)


def _warm_start(shared: SharedFiles, settings: TrialSettings, report: PreparationReport) -> Preparation:
    path = shared.warm_start
    receipt = path.with_suffix(".json")
    for folder in (embedded_path("quickstart"), warm_start_cache()):
        if not path.exists() and (folder / path.name).exists() and (folder / receipt.name).exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / receipt.name, receipt)
            shutil.copyfile(folder / path.name, path)
            return _receipt(receipt, found=True)
    if path.exists() and receipt.exists():
        return _receipt(receipt, found=True)
    assert settings.warm_start is not None
    inputs, updates = load_inputs(settings), settings.warm_start.updates
    training = elastic_training(
        inputs.base,
        space=settings.search_space,
        data=inputs.training_data,
        settings=settings.warm_start,
        seed=WARM_START_SEED,
    )
    begun = time.monotonic()
    make_warm_start(path, training, report=lambda step: report("warm start", step.update, updates))
    _write_receipt(receipt, "warm start", time.monotonic() - begun, device_name(inputs.device))
    warm_start_cache().mkdir(parents=True, exist_ok=True)
    for file in (path, receipt):
        shutil.copyfile(file, warm_start_cache() / file.name)
    return _receipt(receipt, found=False)


def _teacher_outputs(shared: SharedFiles, settings: TrialSettings, seed: int, report: PreparationReport) -> Preparation:
    path = shared.teacher_outputs(settings, seed=seed)
    receipt = path.with_suffix(".json")
    if path.exists() and receipt.exists():
        return _receipt(receipt, found=True)
    inputs, updates = load_inputs(settings), settings.trial.updates
    begun = time.monotonic()
    write_teacher_outputs(
        path,
        base=inputs.base.model,
        process=inputs.process,
        stream=trial_context(shared.folder.parent).stream(seed),
        updates=updates,
        report=lambda done: report("teacher", done, updates),
    )
    _write_receipt(receipt, "teacher", time.monotonic() - begun, device_name(inputs.device))
    return _receipt(receipt, found=False)


def _write_receipt(path: Path, what: str, seconds: float, device: str) -> None:
    write_atomically(path, json.dumps({"what": what, "seconds": round(seconds, 3), "device": device}))


def _receipt(path: Path, *, found: bool) -> Preparation:
    return Preparation(**json.loads(path.read_text()), found=found)
