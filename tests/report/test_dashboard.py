"""Publishing to the dashboard: everything once, again nothing, and lost files again."""

import io
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_run import FakeRun, measured
from optuna.artifacts import get_all_artifact_meta
from optuna_dashboard import get_note, wsgi

from flexsearch.report.dashboard import for_study, optuna_study_of, publish, publish_images
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


def files(run: Run) -> list[tuple[str, bytes]]:
    return sorted((path.name, path.read_bytes()) for path in (run.folder / ARTIFACTS).iterdir())


def shown(optuna_study: OptunaStudy) -> list[str]:
    """The names of the study's pictures, as the dashboard itself lists them."""
    return sorted(meta.filename for meta in get_all_artifact_meta(optuna_study.study))


def test_publishing_again_adds_nothing_but_what_was_lost(run: Run) -> None:
    first = publish_all(run)
    listed, kept = shown(first), files(run)
    pictures = [f"trial-{number}-{name}.png" for number in range(6) for name in ("preview", "schedule")]
    assert listed == sorted(["front.png", *pictures])
    assert len(kept) == len(listed)
    assert shown(publish_all(run)) == listed
    assert files(run) == kept
    for path in (run.folder / ARTIFACTS).iterdir():
        path.unlink()
    assert shown(publish_all(run)) == listed
    assert files(run) == kept, "what was lost came back"


def test_notes_say_what_and_show_what_the_dashboard_serves(run: Run) -> None:
    slow = optuna_study_of(run).add_baseline("one more", {}).number
    run.store.start(slow, run.trial(4).candidate, baseline=None)
    run.store.record(slow, replace(measured(9.0, 9.0), state="infeasible", reason="too slow"))
    optuna_study = publish_all(run)
    study_note = get_note(optuna_study.study)
    picture = optuna_study.picture_url("front.png", folder=run.folder / ARTIFACTS)
    assert study_note.startswith("### 1.74x (95 %: 1.58 to 1.93) as fast as")
    assert f"![front.png]({picture})" in study_note
    assert "**infeasible**: too slow." in get_note(optuna_study.trial(slow))
    note = get_note(optuna_study.trial(4))
    assert note.startswith("### PMssssssssRD @5,2 x5")
    assert "**On the front.** 1.74x (95 %: 1.58 to 1.93) as fast as the training-free baselines" in note
    assert "| latency_ms | 7 ± 0.035 | ms/image |" in note
    assert "| images | 500 |" in note
    images = optuna_study.artifacts(run.folder / ARTIFACTS)
    for name in ("schedule.png", "preview.png"):
        url = optuna_study.picture_url(f"trial-4-{name}", folder=run.folder / ARTIFACTS)
        assert url is not None
        assert f"![{name}]({url})" in note
        answer: list[str] = []
        body = wsgi(optuna_study.storage, artifact_store=images)(
            {"REQUEST_METHOD": "GET", "PATH_INFO": url, "wsgi.errors": sys.stderr, "wsgi.input": io.BytesIO()},
            lambda status, *_, answer=answer: answer.append(status),
        )
        assert b"".join(body).startswith(b"\x89PNG")
        assert answer == ["200 OK"]
    assert optuna_study.study.metric_names == ["fid_fashion_cnn", "latency (ms/image)"]


def test_the_search_attaches_samples_to_a_running_trial_once(run: Run) -> None:
    optuna_study = optuna_study_of(run)
    added = optuna_study.add_baseline("one more", {})
    folder, samples = run.folder / ARTIFACTS, run.folder / "trials" / "0" / "samples.png"
    for _ in range(2):
        optuna_study.attach_image(added.number, samples, folder=folder)
    found = get_all_artifact_meta(optuna_study.study.trials[added.number], storage=optuna_study.storage)
    assert [meta.filename for meta in found] == ["samples.png"]
    assert len(files(run)) == 1


@pytest.mark.parametrize(
    ("method", "path", "may_write", "status"),
    [
        ("GET", "/", False, "302 Found"),
        ("GET", "/dashboard/", False, "302 Found"),
        ("GET", "/dashboard/studies/1/note", False, "200 OK"),
        ("GET", "/api/studies", False, "200 OK"),
        ("DELETE", "/api/studies/1", False, "403 Forbidden"),
        ("PUT", "/api/studies/1/note", False, "403 Forbidden"),
        ("PUT", "/api/studies/1/note", True, "200 OK"),
    ],
)
def test_it_opens_on_the_study_and_changes_nothing_unless_asked(
    method: str, path: str, may_write: bool, status: str
) -> None:
    def inner(_: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        start("200 OK", [])
        return [b"here"]

    seen: list[tuple[str, list[tuple[str, str]]]] = []
    application = for_study(inner, study="/dashboard/studies/1/note", may_write=may_write)
    application({"REQUEST_METHOD": method, "PATH_INFO": path}, lambda *found: seen.append(found))
    assert seen[0][0] == status
    assert (("Location", "/dashboard/studies/1/note") in seen[0][1]) == status.startswith("302")
