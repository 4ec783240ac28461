"""Exporting a trial: its averaged weights and its schedule, with a recipe to train them further."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from flexsearch import __version__
from flexsearch.errors import UserError
from flexsearch.export.card import write_card
from flexsearch.export.folder import TRANSFORMER, with_folded_gain, written
from flexsearch.export.recipe import RECIPE, LongTraining, Recipe
from flexsearch.models.fingerprint import Fingerprint
from flexsearch.models.loading import load_base, load_exported
from flexsearch.models.settings import base_clock
from flexsearch.paths import as_word
from flexsearch.report.points import is_free
from flexsearch.report.run import Run
from flexsearch.study.store import TrialRecord
from flexsearch.trial.life import CHECKPOINT


def export_trial(run: Run, number: int, out: Path) -> Iterator[str]:
    """Write the model of a trial to `out`, saying what it did.

    Raises:
        UserError: the trial has no model, or `out` exists.
    """
    record = run.trial(number)
    checkpoint = run.folder / "trials" / str(number) / CHECKPOINT
    if not checkpoint.is_dir():
        raise UserError(f"trial {number} is {record.state} and has no model", field="TRIAL")
    if out.exists():
        raise UserError("exists already", field=str(out), nearest=f"{out}-{number}")
    model, base = load_exported(checkpoint), load_base(run.settings.base)
    fingerprint = Fingerprint.of(base.model.base, exported=model.base)
    recipe = with_folded_gain(model, recipe_of(run, record))
    card = write_card(recipe, made=_made(run, record), measured={"by the search": record.measurements.values()})
    with written(
        out, model=model, scheduler=base.scheduler, recipe=recipe, card=card, fingerprint=fingerprint
    ) as folder:
        folder.rename(out)
    yield f"{out}: {record.candidate}, digest {record.digest}, rebuilt and compared"
    yield f"draw from it: flexsearch sample {as_word(out)} --out samples.png"
    yield f"train it for long: flexsearch train {as_word(out / RECIPE)}"


def recipe_of(run: Run, record: TrialRecord) -> Recipe:
    """Write the recipe of a trial: training from its averaged weights as in the paper, measured as in the search."""
    settings, taught = run.settings, run.settings.teacher_samples
    if taught is not None:
        taught = replace(taught, sampling=settings.teacher_sampling.to_dict())
    is_weighted = taught is None and not base_clock(settings.base).is_flow
    return Recipe(
        base=settings.base,
        data=settings.data,
        objectives=settings.inputs.objectives,
        sampling=settings.sampling,
        candidate=record.candidate.to_dict(),
        training=LongTraining(loss_weighting="min_snr" if is_weighted else "none"),
        teacher_samples=taught,
        start=TRANSFORMER,
        evaluation_seed=run.search.seed,
        found_by={"study": run.name, "trial": record.number, "digest": record.digest, "flexsearch": __version__},
    )


def _made(run: Run, record: TrialRecord) -> str:
    if is_free(record) or run.settings.is_free:
        return "The weights are the base's own: nothing was trained."
    trial, warm_start = run.settings.trial, run.settings.warm_start
    before = f" after the study's shared warm start of {warm_start.updates} updates" if warm_start is not None else ""
    taught = run.settings.teacher_samples
    on = f"`{run.settings.data.title}`" if taught is None else f"{taught.images} samples of the dense base"
    return (
        f"The weights are the averaged ones of a short fine-tune, {trial.updates} updates of batch {trial.batch} "
        f"on {on}{before}. `recipe.yaml` trains them for long."
    )
