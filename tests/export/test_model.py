"""Exporting a trial: its weights, its schedule, how to train it further, and nothing at all where that fails."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fake_run import FakeRun

from flexsearch.errors import FlexsearchError, UserError
from flexsearch.export import folder as folder_module
from flexsearch.export.folder import FINGERPRINT
from flexsearch.export.licence import base_licence
from flexsearch.export.model import export_trial, recipe_of
from flexsearch.export.recipe import LongTraining, load_recipe
from flexsearch.models.fingerprint import Fingerprint
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import load_base
from flexsearch.models.settings import BaseSettings
from flexsearch.report.run import Run
from flexsearch.trial.contract import TrialResult

TRIAL, DENSE = 4, 0
"""A searched trial and a baseline, which was not trained."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = FakeRun(folder=tmp_path / "run").make()
    keep_model(run, TRIAL)
    found = run.trial(TRIAL).measurements
    run.store.record(TRIAL, TrialResult(state="complete", measurements=found, curve=((1, 0.5), (2, 0.4))))
    return run


def keep_model(run: Run, number: int) -> None:
    """What a trial leaves: the base under its schedule, with merge weights of its own."""
    model = load_base(run.settings.base).model
    model.set_schedule(run.trial(number).candidate.schedule)
    with torch.no_grad():
        for weight in model.merges.parameters():
            weight.add_(torch.randn(weight.shape) * 0.1)
    model.save_pretrained(run.folder / "trials" / str(number) / "model", safe_serialization=True)


def beside(run: Run) -> list[str]:
    return sorted(path.name for path in run.folder.parent.iterdir())


def test_the_folder_is_the_trial_and_can_be_moved(run: Run, tmp_path: Path) -> None:
    out, record = tmp_path / "deep" / "out", run.trial(TRIAL)
    lines = list(export_trial(run, TRIAL, out))
    assert record.digest in lines[0]
    assert out.stat().st_mode & 0o777 == 0o755
    moved = out.rename(tmp_path / "moved")
    kept = FlexDiT.from_pretrained(run.folder / "trials" / str(TRIAL) / "model").state_dict()
    exported = FlexDiT.from_pretrained(moved)
    assert exported.schedule == record.candidate.schedule
    assert exported.state_dict().keys() == kept.keys()
    assert all(torch.equal(exported.state_dict()[name], value) for name, value in kept.items())
    assert json.loads((moved / "candidate.json").read_text()) == record.candidate.to_dict()


def test_the_folder_knows_the_base_that_it_was_made_from(run: Run, tmp_path: Path) -> None:
    base = load_base(run.settings.base).model.base
    list(export_trial(run, TRIAL, tmp_path / "out"))
    found = Fingerprint.load(tmp_path / "out" / FINGERPRINT)
    assert not found.is_trained, "but for what roles add"
    assert found.first_difference(base) is None
    weights = run.folder / "trials" / str(TRIAL) / "model"
    model = FlexDiT.from_pretrained(weights)
    with torch.no_grad():
        model.base.proj_out_2.bias.add_(0.1)
    model.save_pretrained(weights, safe_serialization=True)
    list(export_trial(run, TRIAL, tmp_path / "trained"))
    found = Fingerprint.load(tmp_path / "trained" / FINGERPRINT)
    assert found.is_trained
    assert found.first_difference(base) is None
    assert found.first_difference(model.base) == "proj_out_2.bias"


def test_the_recipe_trains_it_as_the_paper_does_and_judges_it_as_the_search_did(run: Run, tmp_path: Path) -> None:
    run = replace(run, search=replace(run.search, seed=7))
    list(export_trial(run, TRIAL, tmp_path / "out"))
    recipe, record = load_recipe(tmp_path / "out"), run.trial(TRIAL)
    assert recipe.training == LongTraining()
    assert recipe.chosen == record.candidate
    assert recipe.inputs == run.settings.inputs
    assert recipe.sampling == run.settings.sampling
    assert recipe.evaluation_seed == 7
    assert (recipe.start, recipe.trained) == ("transformer", 0)
    assert {"study": "fake", "trial": TRIAL, "digest": record.digest}.items() <= recipe.found_by.items()
    predicts_noise = replace(run.settings, base=BaseSettings(checkpoint="facebook/DiT-XL-2-256"))
    assert recipe_of(replace(run, settings=predicts_noise), record).training == LongTraining(loss_weighting="min_snr")


def test_the_card_says_where_it_comes_from_and_what_was_measured(run: Run, tmp_path: Path) -> None:
    keep_model(run, DENSE)
    for number in (TRIAL, DENSE):
        list(export_trial(run, number, tmp_path / str(number)))
    _, front_matter, body = (tmp_path / str(TRIAL) / "README.md").read_text().split("---\n", 2)
    values = yaml.safe_load(front_matter)
    assert (values["license"], values["library_name"]) == ("apache-2.0", "diffusers")
    assert values["pipeline_tag"] == "unconditional-image-generation"
    assert "base_model" not in values, "what is embedded has no name on a hub"
    assert f"study `fake`, trial `{TRIAL}`" in body
    assert "2 updates of batch" in body
    assert "| fid_fashion_cnn | 14 |  | images 500, seed 0 |" in body
    assert "are under its licence, `apache-2.0`" in body
    assert "nothing was trained" in (tmp_path / str(DENSE) / "README.md").read_text()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_already_is_left_alone(run: Run, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "folder":
        out.mkdir()
        (out / "mine.txt").touch()
    else:
        out.touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"out: exists already; nearest legal: .*out-4"):
        list(export_trial(run, TRIAL, out))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_trial_without_a_model_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="TRIAL: trial 5 is complete and has no model"):
        list(export_trial(run, 5, tmp_path / "out"))
    with pytest.raises(UserError, match=r"TRIAL: .* has no trial 99; nearest legal: 7"):
        list(export_trial(run, 99, tmp_path / "out"))
    assert beside(run) == ["run"]


def other_weights(folder: Path) -> None:
    """Flips a bit of one weight, as a bad disk does."""
    (path,) = (folder / "transformer").glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1 << 6  # the exponent's highest, of a little-endian float32
    path.write_bytes(content)


def half_of_the_weights(folder: Path) -> None:
    (path,) = (folder / "transformer").glob("*.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def another_schedule(folder: Path) -> None:
    path = folder / "transformer" / "config.json"
    values = json.loads(path.read_text())
    values["schedule"]["timetable"]["grids"][0] -= 1
    path.write_text(json.dumps(values))


def an_interrupt(_: Path) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (other_weights, FlexsearchError, "the exported model differs by"),
        (another_schedule, FlexsearchError, "the exported schedule is"),
        (half_of_the_weights, OSError, "Unable to load weights"),
        (an_interrupt, KeyboardInterrupt, None),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_read_back_leaves_nothing(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    error: type[BaseException],
    message: str | None,
) -> None:
    write = folder_module.write_pipeline

    def write_and_damage(folder: Path, **options: Any) -> bool:
        written = write(folder, **options)
        damage(folder)
        return written

    monkeypatch.setattr(folder_module, "write_pipeline", write_and_damage)
    with pytest.raises(error, match=message) as caught:
        list(export_trial(run, TRIAL, tmp_path / "out"))
    assert not isinstance(caught.value, UserError), "it is not the user's to mend"
    assert beside(run) == ["run"]


def test_a_model_that_is_not_the_trials_is_refused(run: Run, tmp_path: Path) -> None:
    another_schedule_in = run.folder / "trials" / str(TRIAL)
    (another_schedule_in / "model").rename(another_schedule_in / "transformer")
    another_schedule(another_schedule_in)
    (another_schedule_in / "transformer").rename(another_schedule_in / "model")
    with pytest.raises(FlexsearchError, match="the exported schedule is"):
        list(export_trial(run, TRIAL, tmp_path / "out"))
    assert beside(run) == ["run"]


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (None, None),
        ("---\nlicense: mit\ntags: [a]\n---\n# A model\n", "mit"),
        ("---\nlicense:\n- mit\n---\n", None),
        ("---\ntags: [a]\n---\n", None),
        ("---\nlicense: [\n---\n", None),
        ("---\n- license\n---\n", None),
        ("# A model\nlicense: mit\n", None),
        ("", None),
    ],
)
def test_a_base_in_a_folder_is_under_what_its_card_declares(tmp_path: Path, card: str | None, expected: str) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert base_licence(BaseSettings(checkpoint=str(tmp_path))) == expected


def test_a_card_that_is_at_hand_comes_before_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = BaseSettings(checkpoint="facebook/DiT-XL-2-256")
    card = tmp_path / "card"
    cached: list[str | None] = [None]
    monkeypatch.setattr("flexsearch.export.licence.try_to_load_from_cache", lambda *_: cached[0])
    assert base_licence(public) == "cc-by-nc-4.0"
    assert base_licence(BaseSettings(checkpoint="somebody/a-model")) is None
    card.write_text("---\nlicense: mit\n---\n")
    cached[0] = str(card)
    assert base_licence(public) == "mit"
