"""Publishing to the dashboard: everything once, again nothing, and what the user deleted stays deleted."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_run import FakeRun
from optuna_dashboard import get_note
from optuna_dashboard.artifact._backend import list_trial_artifacts

from flexsearch.report.dashboard import optuna_study_of, publish, publish_images
from flexsearch.report.run import Run
from flexsearch.study.optuna_study import ARTIFACTS, OptunaStudy


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return FakeRun(folder=tmp_path / "run", has_study=True, points=[(14.0, 7.0), (12.0, 9.0)]).make()


def publish_all(run: Run) -> OptunaStudy:
    """As a dashboard that is opened does."""
    optuna_study = optuna_study_of(run)
    publish_images(run, optuna_study)
    publish(run, optuna_study)
    return optuna_study


def attributes(optuna_study: OptunaStudy) -> dict[str, Any]:
    found: dict[str, Any] = optuna_study.study._storage.get_study_system_attrs(optuna_study.study._study_id)
    return found


def files(run: Run) -> list[tuple[str, bytes]]:
    return sorted((path.name, path.read_bytes()) for path in (run.folder / ARTIFACTS).iterdir())


def shown(optuna_study: OptunaStudy, number: int) -> list[str]:
    """The names of a trial's artifacts, as the dashboard itself lists them."""
    trial = optuna_study.study.get_trials()[number]
    system = optuna_study.study._storage.get_trial_system_attrs(trial._trial_id)
    return sorted(meta["filename"] for meta in list_trial_artifacts(attributes(optuna_study), system, trial))


def test_publishing_twice_adds_nothing(run: Run) -> None:
    before = publish_all(run)
    first, kept = attributes(before), files(run)
    again = publish_all(run)
    assert attributes(again) == first
    assert files(run) == kept
    for number in range(6):
        assert shown(again, number) == ["preview.png", "samples.png", "schedule.png"]
    assert len(kept) == 3 * 6


def test_notes_say_what_and_show_where(run: Run) -> None:
    optuna_study = publish_all(run)
    note = get_note(optuna_study.trial(4))
    assert "**On the front.** 1.43x as fast" in note
    assert "| latency_ms | 7 ± 0.035 | ms/image |" in note
    assert "| images | 500 |" in note
    for name in ("schedule.png", "preview.png"):
        url = optuna_study.image_url(4, name, folder=run.folder / ARTIFACTS)
        assert url is not None
        assert f"![{name}]({url})" in note
    assert optuna_study.study.metric_names == ["fid_fashion_cnn", "latency (ms/image)"]


def test_an_image_that_was_deleted_stays_so(run: Run) -> None:
    optuna_study = publish_all(run)
    key = next(key for key, value in attributes(optuna_study).items() if '"schedule.png"' in str(value))
    optuna_study.study._storage.set_study_system_attr(optuna_study.study._study_id, key, json.dumps(None))
    again = publish_all(run)
    assert attributes(again)[key] == "null"
    counts = [shown(again, number).count("schedule.png") for number in range(6)]
    assert sorted(counts) == [0, 1, 1, 1, 1, 1]


def test_images_that_were_lost_come_back(run: Run) -> None:
    optuna_study = publish_all(run)
    kept = files(run)
    for path in (run.folder / ARTIFACTS).iterdir():
        path.unlink()
    publish_all(run)
    assert files(run) == kept
    assert shown(optuna_study, 2) == ["preview.png", "samples.png", "schedule.png"]


def test_what_the_search_attached_is_not_published_again(run: Run) -> None:
    """While a trial runs, the search attaches its samples itself, under an id of Optuna's."""
    optuna_study = optuna_study_of(run)
    added = optuna_study.add_baseline("one more", {})
    folder, samples = run.folder / ARTIFACTS, run.folder / "trials" / "0" / "samples.png"
    for _ in range(2):
        optuna_study.attach_image(added.number, samples, folder=folder)
    assert shown(optuna_study, added.number) == ["samples.png"]
    assert optuna_study.has_image(added.number, "samples.png", folder=folder)
    assert not optuna_study.has_image(added.number, "schedule.png", folder=folder)
