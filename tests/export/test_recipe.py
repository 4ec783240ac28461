"""The recipe: the paper's defaults, errors that name their field, and what may change on resume."""

from dataclasses import replace
from pathlib import Path

import pytest
from builders import Call

from flexsearch.errors import UserError
from flexsearch.export.recipe import RECIPE, LongTraining, first_difference, load_recipe
from flexsearch.schedule import Cache, Gain, GuidanceRows, Sampling


def test_the_defaults_are_the_papers() -> None:
    """arXiv 2412.06028 and the logs: AdamW at 1e-4, constant, no weight decay, batch 256, averages at 0.9999, 10 % of
    labels dropped, about 400,000 updates, no teacher."""
    paper = LongTraining()
    assert (paper.updates, paper.batch, paper.learning_rate, paper.decay) == (400_000, 256, 1e-4, "constant")
    assert (paper.weight_decay, paper.ema_decay, paper.label_dropout, paper.warmup) == (0.0, 0.9999, 0.1, 0)
    assert (paper.distillation, paper.max_gradient_norm) == (0.0, None)


def test_what_is_written_is_read(recipe_folder: Call, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_folder())
    (tmp_path / RECIPE).write_text(recipe.to_yaml())
    assert load_recipe(tmp_path) == recipe
    assert load_recipe(tmp_path / RECIPE, ["training.batch=4"]).training.batch == 4


def test_the_whole_sampling_is_read(recipe_folder: Call) -> None:
    """Weights that carry a part of the gain are run with the rest of it."""
    given = [
        "candidate.solver=ab2",
        "candidate.cache={pattern: Fp, first: 1}",
        "candidate.guidance={from: 0.1}",
        "candidate.gain={stream: 0.9, at: 2, skip: 0.8}",
        "folded={stream: 0.9, at: 2}",
    ]
    recipe = load_recipe(recipe_folder(), given)
    sampling = Sampling(
        steps=2,
        solver="ab2",
        cache=Cache(pattern="Fp", first=1),
        guidance=GuidanceRows(start=0.1),
        gain=Gain(stream=0.9, at=2, skip=0.8),
    )
    assert recipe.chosen.sampling == sampling
    assert recipe.exported.sampling == replace(sampling, gain=Gain(skip=0.8))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.dtype=fp16", r"^training\.dtype: must be 'fp32' or 'bf16'"),
        ("candidate.segments=[]", r"^candidate\.segments: must hold at least one block"),
        ("candidate.timetable.grids=[5]", r"^candidate\."),
        ("candidate.cache={depth: 1}", r"^candidate\.cache: must be one of .* but got 'depth'"),
        ("candidate.solvr=ab2", r"^candidate\.solvr: is not a known field; nearest legal: solver"),
        ("folded.stream=0", r"^folded\.stream: "),
        ("candidate.sampler_steps=0", r"^candidate\.sampler_steps: must be at least 1"),
        ("candidate={}", r"^candidate"),
    ],
)
def test_errors_name_the_field(recipe_folder: Call, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe(recipe_folder(), [override])


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(tmp_path)
    (tmp_path / RECIPE).write_text("- a list")
    with pytest.raises(UserError, match="must be a mapping"):
        load_recipe(tmp_path)


def test_only_what_changes_the_result_is_a_difference(recipe_folder: Call) -> None:
    folder = recipe_folder()
    recipe = load_recipe(folder).to_dict()
    same = load_recipe(folder, ["training.save_every=7", "training.gradient_checkpointing=true", "training.log=wandb"])
    assert first_difference(recipe, same.to_dict()) is None
    for name in ("training.seed", "training.learning_rate", "evaluation_seed"):
        other = load_recipe(folder, [f"{name}=2"]).to_dict()
        assert first_difference(recipe, other) == name
    shorter = {key: value for key, value in recipe.items() if key != "trained"}
    assert first_difference(recipe, shorter) == first_difference(shorter, recipe) == "trained"
