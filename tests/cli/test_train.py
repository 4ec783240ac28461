"""`flexsearch train`: what it refuses, in one line and before anything is made; and what it says of a finished run."""

from pathlib import Path

import pytest
from builders import Call

from flexsearch.export.recipe import RECIPE
from flexsearch.models.flexdit import FlexDiT


@pytest.fixture
def recipe(recipe_folder: Call) -> Path:
    """A recipe that trains a tiny dense base for two updates and measures nothing."""
    return recipe_folder(updates=2, batch=4, evaluate_every=None) / RECIPE


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batsh=8", "training.batsh: is not a known field; nearest legal: batch"),
        ("training.batch=lots", "training.batch: must be a valid integer"),
        ("training.batch=0", "training.batch: must be greater than or equal to 1, but got 0"),
        ("training.log=paper", "training.log: must be 'none', 'tensorboard', 'wandb' or 'mlflow', but got 'paper'"),
        ("training.gradient_accumulation=3", "training.batch: must be a multiple of 1 processes x 3 parts, but got 4"),
        ("candidate.sampler_step=9", "candidate.sampler_step: is not a known field; nearest legal: sampler_steps"),
        ("candidate.sampler_steps=2.5", "candidate.sampler_steps: must be a whole number, but got 2.5"),
        ("candidate.segments.0.family=pool", "candidate.segments[0].family: must be one of"),
        ("candidate.segments.0.depth=2", "candidate.segments: must add up to 8 blocks, but got 9"),
        ("candidate.timetable.grids=[9, 3]", "candidate.timetable.grids[0]: "),
        ("base.checkpoint=./nowhere", "base.checkpoint: ./nowhere is not on this machine"),
        ("training.batch", "--set: must be key=value, but got 'training.batch'"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused(
    flexsearch: Call, recipe: Path, tmp_path: Path, override: str, message: str
) -> None:
    outcome = flexsearch("train", recipe, "--out", tmp_path / "out", "--set", override)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith(f"error: {message}")
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_is_not_there_is_refused(flexsearch: Call, tmp_path: Path) -> None:
    outcome = flexsearch("train", tmp_path / "nowhere.yaml")
    assert outcome.code == 2
    assert outcome.err == f"error: {tmp_path / 'nowhere.yaml'}: cannot be read (No such file or directory)\n"


def test_a_start_that_does_not_fit_is_refused_and_may_be_mended(
    flexsearch: Call, recipe: Path, tiny_model: FlexDiT, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    tiny_model.save_pretrained(recipe.parent / "smaller", safe_serialization=True)
    for start, message in (
        ("transformer", "holds no model; nearest legal: base"),
        (".", "holds no model; nearest legal: base"),
        ("smaller", "is not a model of"),
    ):
        outcome = flexsearch("train", recipe, "--out", out, "--set", f"start={start}")
        assert outcome.code == 2
        assert outcome.err.splitlines()[-1].startswith("error: start: ")
        assert message in outcome.err
    assert flexsearch("train", recipe, "--out", out).code == 0, "what was refused leaves nothing that stands in the way"


def test_a_finished_run_says_so_and_options_go_before_the_file(
    flexsearch: Call, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("train", recipe.parent, "--updates", 1, "--set", "training.updates=5")
    first = flexsearch(*line)
    out = recipe.parent.with_name("recipe-trained")
    assert (first.code, first.out) == (0, "")
    assert [row.split(",")[0] for row in (out / "training.csv").read_text().splitlines()] == ["update", "0", "1"]
    assert f"{out}: trained, rebuilt and compared" in first.err
    monkeypatch.setattr("flexsearch.export.train.train", lambda *_, **__: pytest.fail("nothing is left to do"))
    again = flexsearch(*line)
    assert (again.code, again.out) == (0, "")
    assert again.err == (
        f"{out} is finished: quality was not measured. Train it further: flexsearch train {out / RECIPE}\n"
    )
    changed = flexsearch(*line, "--set", "training.seed=3")
    assert changed.code == 2
    assert changed.err.startswith("error: training.seed: differs from the recipe that is trained in ")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_already_is_left_alone(flexsearch: Call, recipe: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "photos"
    if kind == "folder":
        out.mkdir()
        (out / "cat.png").touch()
    else:
        out.write_text("mine")
    outcome = flexsearch("train", recipe, "--out", out)
    assert outcome.code == 2
    assert f"error: {out}: exists already and is not a training run" in outcome.err
    assert [path.name for path in out.iterdir()] == ["cat.png"] if kind == "folder" else out.read_text() == "mine"
