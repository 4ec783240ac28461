"""What the operating system refuses is one line that names the file, and exit status 2."""

import errno
import os
from pathlib import Path

import pytest
from builders import Call
from fake_run import FakeRun

SPACE = Path(__file__).parents[2] / "search_spaces" / "quickstart.yaml"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory, beside a file and a folder that are in the way."""
    (tmp_path / "file").touch()
    for name in ("folder.csv", "folder.png", "folder.html"):
        (tmp_path / name).mkdir()
    return FakeRun(folder=tmp_path / "run", has_study=True).make().folder


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("front run --csv folder.csv", "Is a directory"),
        ("front run --csv file/x.csv", "Not a directory|File exists"),
        ("front run --csv /proc/x.csv", "No such file or directory"),
        ("front run --plot folder.png", "Is a directory"),
        ("front run --plot file/x.svg", "Not a directory|File exists"),
        (f"front run --csv {'x' * 300}.csv", "File name too long"),
        ("front run --plot=", "must end in .png, .svg or .pdf, but got ''; nearest legal: front.png"),
        ("front run --plot=/", "must end in .png, .svg or .pdf, but got ''"),
        ("report run /", "must end in .html, but got ''; nearest legal: report.html"),
        ("show run 3 --picture file/x.svg", "Not a directory|File exists"),
        ("report run folder.html", "Is a directory|exists already"),
        ("report run file/x.html", "Not a directory|File exists"),
        ("front file", "is not a run directory"),
        ("front file/run", "is not a run directory"),
        (f"front {'x' * 300}", "is not a run directory|File name too long"),
        ("plan folder.csv", "Is a directory"),
        ("plan file/space.yaml", "Not a directory"),
        (f"plan {'x' * 300}.yaml", "File name too long"),
        (f"run {SPACE} --run-dir file", "Not a directory|File exists"),
        (f"run {SPACE} --run-dir file/run", "Not a directory|File exists"),
        (f"run {SPACE} --run-dir {'x' * 300}", "File name too long"),
    ],
    ids=lambda value: value[:30].replace(str(SPACE), "SPACE"),
)
def test_a_path_that_cannot_be(
    flexsearch: Call, run: Path, monkeypatch: pytest.MonkeyPatch, command: str, reason: str
) -> None:
    monkeypatch.chdir(run.parent)
    outcome = flexsearch(*command.split())
    last = outcome.err.splitlines()[-1]
    assert outcome.code == 2, outcome.err
    assert last.startswith("error: ")
    assert len(last) <= 300
    assert any(one in last for one in reason.split("|")), last


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_nothing(
    flexsearch: Call, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    for arguments in (("front", run, "--csv", tmp_path / "x.csv"), ("report", run, tmp_path / "x.html")):
        outcome = flexsearch(*arguments)
        assert outcome.code == 2
        assert outcome.err.splitlines()[-1].startswith("error: ")
        assert os.strerror(code) in outcome.err
    assert not (tmp_path / "x.csv").exists()
    assert not (tmp_path / "x.html").exists()
