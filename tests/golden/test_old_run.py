"""A run of 0.1.0, finished and confirmed: it is read, prolonged, exported and trained as if nothing were new."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import api
import pytest
import torch

Call = Callable[..., api.Outcome]
SHOWN: list[dict[str, Any]] = api.read_json("old_run/show.json")
KEPT = next(page["trial"] for page in SHOWN if any("model" in path for path in page["files"]))
ABSOLUTE = re.compile(rb"(?<![\w.:/-])/[A-Za-z]\w*/[\w./-]*")


def shown(flexsearch: Call, number: int) -> dict[str, Any]:
    page: dict[str, Any] = json.loads(flexsearch("show", "run", number, "--json").out)
    return page


def same(found: Any, stored: Any) -> None:
    """Equal; numbers that are computed again from the stored ones up to a sum's rounding."""
    if isinstance(stored, dict):
        assert stored.keys() <= found.keys()
        for key in stored:
            same(found[key], stored[key])
    elif isinstance(stored, list):
        assert len(found) == len(stored)
        for one, other in zip(found, stored, strict=True):
            same(one, other)
    elif isinstance(stored, float):
        assert found == pytest.approx(stored, rel=1e-9)
    else:
        assert found == stored


def test_no_stored_path_is_absolute(old_run: Path) -> None:
    files = [path for path in old_run.rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    assert len(files) > 15
    for path in files:
        assert not ABSOLUTE.findall(path.read_bytes()), path


def test_every_state_is_there() -> None:
    assert {"complete", "pruned", "duplicate"} == {page["state"] for page in SHOWN}
    assert [page["trial"] for page in SHOWN] == list(range(len(SHOWN)))


def test_front(flexsearch: Call, old_run: Path) -> None:
    found = json.loads(flexsearch("front", "run", "--json").out)
    stored = api.as_of_today(api.read_json("old_run/front.json"))
    same(found, stored)
    assert stored["confirmation"]["points"]


def test_show(flexsearch: Call, old_run: Path) -> None:
    for stored in SHOWN:
        same(shown(flexsearch, stored["trial"]), api.as_of_today(stored))


def test_the_warm_start_keeps_its_key(old_run: Path) -> None:
    (kept,) = (old_run / "run" / "base").glob("warm_start-*.safetensors")
    assert kept.stem == f"warm_start-{api.warm_start_key(old_run / 'space.yaml')}"


def test_more_trials_prolong_it(flexsearch: Call, old_run: Path) -> None:
    before = api.as_of_today(api.read_json("old_run/front.json"))
    shared = {path.name: path.read_bytes() for path in (old_run / "run" / "base").glob("*.safetensors")}
    finished = before["counts"]["complete"] + before["counts"]["pruned"]
    arguments = ("run", "space.yaml", "--run-dir", "run", "--executor", "local", "--trials", finished + 1)
    outcome = flexsearch(*arguments)
    assert outcome.code == 0, outcome.err
    after = json.loads(flexsearch("front", "run", "--json").out)
    assert after["counts"]["complete"] + after["counts"]["pruned"] == finished + 1
    assert after["counts"]["failed"] == before["counts"]["failed"]
    same({row["trial"]: row for row in after["baselines"]}, {row["trial"]: row for row in before["baselines"]})
    for stored in SHOWN:  # what was measured stays; a trial that runs writes into no other's folder
        same(shown(flexsearch, stored["trial"]), api.as_of_today(stored))
    pages = [shown(flexsearch, number) for number in range(len(SHOWN), sum(after["counts"].values()))]
    assert pages[-1]["state"] in ("complete", "pruned")
    assert all(page["baseline"] is None for page in pages)
    assert not {page["digest"] for page in pages if page["state"] != "duplicate"} & {page["digest"] for page in SHOWN}
    kept = {path.name: path.read_bytes() for path in (old_run / "run" / "base").glob("*.safetensors")}
    warm_starts = [name for name in kept if name.startswith("warm_start-")]
    assert {name: kept[name] for name in warm_starts} == {name: shared[name] for name in shared if name in warm_starts}


def test_the_kept_trial_is_exported(flexsearch: Call, old_run: Path) -> None:
    outcome = flexsearch("export", "run", KEPT, "again")
    assert outcome.code == 0, outcome.err
    before, after = (api.load_model(old_run / name / "transformer") for name in ("exported", "again"))
    assert before.state_dict().keys() == after.state_dict().keys()
    for name, weight in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], weight), name


def test_the_exported_folder_is_a_model_and_a_pipeline(old_run: Path) -> None:
    model, kept = (api.load_model(old_run / name) for name in ("exported", f"run/trials/{KEPT}/model"))
    stored = next(page for page in SHOWN if page["trial"] == KEPT)
    schedule = {key: value for key, value in stored["schedule"].items() if key != "sampler_steps"}
    assert api.schedule_of_model(model) == schedule
    one, other = (api.in_float64(each) for each in (model, kept))
    labels = {"class_labels": torch.tensor([3, 10])}
    assert torch.equal(api.model_output(one, labels, [0.1, 0.2]), api.model_output(other, labels, [0.1, 0.2]))
    pipeline = api.load_pipeline(old_run / "exported")
    assert pipeline.config["sampling"] == {"sampler_steps": stored["schedule"]["sampler_steps"]}
    images = pipeline([3, 7], output_type="pt", generator=torch.Generator().manual_seed(0)).images
    assert images.shape == (2, 1, 16, 16)
    assert images.isfinite().all()


def test_the_recipe_trains(flexsearch: Call, old_run: Path) -> None:
    options = ("--set", "training.batch=8", "--set", "training.evaluate_every=null")
    outcome = flexsearch("train", "exported/recipe.yaml", "--updates", 3, *options, "--out", "trained")
    assert outcome.code == 0, outcome.err
    trained = api.load_model(old_run / "trained")
    assert api.schedule_of_model(trained) == api.schedule_of_model(api.load_model(old_run / "exported"))
    rows = (old_run / "trained" / "training.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["update", "0", "1", "2", "3"]
