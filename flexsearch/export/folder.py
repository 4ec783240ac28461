"""The exported format: a folder that `FlexDiT.from_pretrained` and diffusers read, with schedule, recipe and card.

`transformer/` (configuration, safetensors), `scheduler/`, `candidate.json`, `recipe.yaml`, `README.md`, and
`model_index.json`, which makes it a diffusers pipeline, for models that read class labels. It is written beside its
place, read back, and compared with the model in memory before any of it gets its name.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from flexsearch.data.conditions import random_condition
from flexsearch.diffusion.pipeline import write_pipeline
from flexsearch.errors import FlexsearchError
from flexsearch.export.card import CARD
from flexsearch.export.recipe import RECIPE, Recipe
from flexsearch.files import folder_beside
from flexsearch.models.flexdit import FlexDiT

CANDIDATE = "candidate.json"
TRANSFORMER = "transformer"
_PIECES = (TRANSFORMER, "scheduler", "model_index.json", RECIPE, CARD, CANDIDATE)
"""In the order in which they get their names: a folder with a candidate is whole."""


@contextmanager
def written(beside: Path, *, model: FlexDiT, scheduler: Any, recipe: Recipe, card: str) -> Iterator[Path]:
    """Write a verified folder beside the path `beside`; the block moves it, or its pieces, to their place.

    Raises:
        FlexsearchError: what was written does not give the same model back.
    """
    with folder_beside(beside) as temporary:
        model.save_pretrained(temporary / TRANSFORMER, safe_serialization=True)
        scheduler.save_pretrained(temporary / "scheduler")
        (temporary / RECIPE).write_text(recipe.to_yaml())
        (temporary / CARD).write_text(card)
        (temporary / CANDIDATE).write_text(json.dumps(recipe.chosen.to_dict(), indent=2))
        write_pipeline(temporary, sampling=recipe.chosen.sampling)
        _verify(model, temporary / TRANSFORMER, recipe)
        temporary.chmod(0o755)
        yield temporary


def move_pieces(source: Path, target: Path) -> None:
    """Move a written model into a folder that has other files too, piece by piece, and over what a process left that
    died while it did that."""
    for piece in _PIECES:
        if (target / piece).is_dir() and (source / piece).exists():
            shutil.rmtree(target / piece)
        if (source / piece).exists():
            (source / piece).replace(target / piece)


def _verify(model: FlexDiT, folder: Path, recipe: Recipe) -> None:
    """Check that the model read back has the recipe's schedule and gives the same output to the bit, in every stage."""
    rebuilt = FlexDiT.from_pretrained(folder).to(model.device).eval()
    if rebuilt.schedule.digest != recipe.chosen.schedule.digest:
        raise FlexsearchError(f"the exported schedule is {rebuilt.schedule}, not {recipe.chosen.schedule}")
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(2, *model.shape.sample_size, generator=generator).to(model.device)
    condition = random_condition(model.shape, batch=2, generator=generator)
    condition = {name: value.to(model.device) for name, value in condition.items()}
    with torch.inference_mode():
        for graph, low in zip(model.graphs(), model.schedule.timetable.edges[:-1], strict=True):
            timestep = torch.full((2,), low * model.config["num_train_timesteps"], device=model.device)
            expected, found = (one(noisy, timestep, graph=graph, **condition).sample for one in (model.eval(), rebuilt))
            if not torch.equal(expected, found):
                raise FlexsearchError(
                    f"the exported model differs by {(expected - found).abs().max():.3g} in stage {graph.stage}"
                )
