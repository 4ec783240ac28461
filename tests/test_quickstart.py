"""The quickstart as it ships: small enough, up to date with its search space, and good enough to be searched."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from flexsearch.config import RunConfig, load_config
from flexsearch.paths import embedded_path
from flexsearch.study.baselines import baselines_of, is_kept
from flexsearch.trial.contract import TrialOrder
from flexsearch.trial.life import run_trial
from flexsearch.trial.prepare import prepare
from flexsearch.trial.shared_files import SharedFiles

ROOT = Path(__file__).parents[1]
SPACE = ROOT / "search_spaces" / "quickstart.yaml"


def files() -> list[Path]:
    return [path for path in embedded_path("quickstart").rglob("*") if path.is_file()]


def test_the_assets_are_small_and_hold_no_pickles() -> None:
    assert sum(path.stat().st_size for path in files()) < 12e6
    assert {path.suffix for path in files()} == {".safetensors", ".json", ".npz", ".md"}
    licences = embedded_path("quickstart/README.md").read_text()
    shipped = {path.relative_to(embedded_path("quickstart")).parts[0].split("-")[0] for path in files()}
    assert all(name in licences for name in shipped - {"README.md"})


def test_the_warm_start_belongs_to_the_search_space() -> None:
    """If this fails, run experiments/quickstart_assets/make_warm_start.py."""
    config = load_config(SPACE)
    expected = SharedFiles.of(Path("run"), config.trial_settings).warm_start
    shipped = [path.name for path in embedded_path("quickstart").glob("warm_start-*.safetensors")]
    assert shipped == [expected.name]
    receipt = json.loads(embedded_path(f"quickstart/{expected.stem}.json").read_text())
    assert receipt["seconds"] > 60
    weights = load_file(embedded_path(f"quickstart/{expected.name}"))
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_sampler_steps_and_seeds_need_no_other_warm_start() -> None:
    config = load_config(SPACE)
    other = load_config(SPACE, ["space.sampler_steps=8", "search.seed=3", "trial.updates=1", "search.trials=5"])
    changed = load_config(SPACE, ["space.timetable.clean_grid=5"])
    names = [SharedFiles.of(Path("run"), one.trial_settings).warm_start.name for one in (config, other, changed)]
    assert names[0] == names[1] != names[2]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunConfig]:
    """A run of the quickstart, before its first trial; nothing is trained in it."""
    overrides = [
        "objectives.quality.images=500",
        "trial.updates=0",
        "objectives.latency.repeats=1",
    ]
    folder, config = tmp_path_factory.mktemp("quickstart"), load_config(SPACE, overrides)
    config.save(folder)
    made = prepare(folder, config.trial_settings, seed=0, report=lambda *_: None)
    assert [(one.what, one.found) for one in made] == [("warm start", True), ("data Gaussian", False)]
    return folder, config


@pytest.mark.parametrize(("baseline", "limit"), [("dense-4-ab2", 12.0), ("paper-10", 20.0)])
def test_base_and_warm_start_draw_good_images(opened: tuple[Path, RunConfig], baseline: str, limit: float) -> None:
    """Distances of 500 images; held-out real ones are at 6.8, noise in the hundreds."""
    folder, config = opened
    one = next(one for one in baselines_of(config.search_space, config.search) if one.name == baseline)
    trains = is_kept(one.name, one.candidate)
    order = TrialOrder(number=0, candidate=one.candidate, run_dir=folder, seed=0, baseline=one.name, fine_tune=trains)
    found = run_trial(order, lambda _: True).measurements["fid_fashion_cnn"]
    assert found.value < limit
