"""The exported format: a folder that `FlexDiT.from_pretrained` and diffusers read, with schedule, recipe and card.

`transformer/` (configuration, safetensors), `scheduler/`, `candidate.json`, `recipe.yaml`, `README.md`, `diffusers/`
(what other programs can be told of its sampling), `fingerprint.safetensors` (of the base that it was made from), and
`model_index.json`, which makes it a diffusers pipeline, for models that read class labels. It is written beside its
place, read back, and compared with the model in memory before any of it gets its name.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from flexsearch.diffusion.pipeline import write_pipeline
from flexsearch.diffusion.sampling import plan_of
from flexsearch.diffusion.solvers import diffusers_scheduler
from flexsearch.errors import FlexsearchError, reading
from flexsearch.export.card import CARD
from flexsearch.export.example import computed_graphs, example_of
from flexsearch.export.plain_settings import FOLDER, PlainSettings, write_plain_settings
from flexsearch.export.recipe import RECIPE, Recipe
from flexsearch.files import folder_beside, sync_folder
from flexsearch.models.fingerprint import Fingerprint
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.fold import fold_gain
from flexsearch.models.loading import as_stored
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.gain import NO_GAIN
from flexsearch.schedule.sampling import Sampling

CANDIDATE = "candidate.json"
FINGERPRINT = "fingerprint.safetensors"
TRANSFORMER = "transformer"
_PIECES = (TRANSFORMER, "scheduler", FOLDER, FINGERPRINT, "model_index.json", RECIPE, CARD, CANDIDATE)
"""In the order in which they get their names: a folder with a candidate is whole."""


def with_folded_gain(model: FlexDiT, recipe: Recipe) -> Recipe:
    """Fold the gain of a recipe's candidate into a model's weights, in place, and give the recipe that says so. Weights
    in bf16 would be rounded again: they are left."""
    if recipe.base.dtype != "fp32":
        return recipe
    sampling = recipe.chosen.sampling
    folded = sampling.gain.without(fold_gain(model, sampling))
    return replace(recipe, folded=None if folded == NO_GAIN else folded)


def exported_candidate(folder: Path) -> Candidate:
    """Read what the weights in a folder were found with: with the gain that they do not carry."""
    with reading(folder / CANDIDATE):
        return Candidate.from_dict(json.loads((folder / CANDIDATE).read_text(encoding="utf-8")))


def exported_sampling(folder: Path) -> Sampling:
    """Read how the weights in a folder sample."""
    return exported_candidate(folder).sampling


@contextmanager
def written(
    beside: Path,
    *,
    model: FlexDiT,
    scheduler: Any,
    recipe: Recipe,
    card: str,
    fingerprint: Fingerprint | None = None,
) -> Iterator[Path]:
    """Write a verified folder beside the path `beside`; the block moves it, or its pieces, to their place.

    Args:
        beside: path beside which it is written.
        model: with the part of the gain in its weights that the recipe says.
        scheduler: of the base.
        recipe: of the model.
        card: its text.
        fingerprint: of the base that the model was made from; None leaves it out.

    Raises:
        FlexsearchError: what was written does not give the same model back.
    """
    with folder_beside(beside) as temporary:
        model.save_pretrained(temporary / TRANSFORMER, safe_serialization=True)
        scheduler.save_pretrained(temporary / "scheduler")
        (temporary / RECIPE).write_text(recipe.to_yaml(), encoding="utf-8")
        (temporary / CARD).write_text(card, encoding="utf-8")
        if fingerprint is not None:
            fingerprint.save(temporary / FINGERPRINT)
        (temporary / CANDIDATE).write_text(json.dumps(recipe.exported.to_dict(), indent=2), encoding="utf-8")
        write_pipeline(temporary, sampling=recipe.exported.sampling, settings=recipe.sampling)
        plan = plan_of(model, scheduler, exported_sampling(temporary), recipe.sampling)
        write_plain_settings(temporary, PlainSettings.of(recipe), scheduler=diffusers_scheduler(scheduler, plan))
        _verify(model, temporary, scheduler, recipe)
        sync_folder(temporary)
        yield temporary


def move_pieces(source: Path, target: Path) -> None:
    """Move a written model into a folder that has other files too, piece by piece, and over what a process left that
    died while it did that."""
    for piece in _PIECES:
        if (target / piece).is_dir() and (source / piece).exists():
            shutil.rmtree(target / piece)
        if (source / piece).exists():
            (source / piece).replace(target / piece)


def _verify(model: FlexDiT, folder: Path, scheduler: Any, recipe: Recipe) -> None:
    """Check that the model read back has the recipe's schedule and gives the same output to the bit, in every graph of
    the plan that was written."""
    rebuilt = as_stored(FlexDiT.from_pretrained(folder / TRANSFORMER), folder).to(model.device).eval()
    if rebuilt.schedule.digest != recipe.chosen.schedule.digest:
        raise FlexsearchError(f"the exported schedule is {rebuilt.schedule}, not {recipe.chosen.schedule}")
    plan = plan_of(rebuilt, scheduler, exported_sampling(folder), recipe.sampling)
    for graph in computed_graphs(plan):
        example = example_of(model.eval(), graph, batch=2)
        for expected, found in zip(example.run(model), example.run(rebuilt), strict=True):
            if not torch.equal(expected, found):
                raise FlexsearchError(
                    f"the exported model differs by {(expected - found).abs().max():.3g} in stage {graph.stage}"
                )
