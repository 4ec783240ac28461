"""`choose`, `compare`, `report` and pictures from the command line: JSON alone on stdout, one line for an error."""

import json
from pathlib import Path

import pytest
from builders import Call
from fake_run import FakeRun

from flexsearch.schedule import Sampling


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FakeRun(folder=tmp_path_factory.mktemp("chosen") / "run").make().folder


def test_choose_prints_the_trial_and_how_to_take_it(flexsearch: Call, run_dir: Path) -> None:
    told = flexsearch("choose", run_dir, "--max-latency", 7.5)
    assert told.code == 0
    assert told.out.startswith("trial 4: ")
    assert f"flexsearch export {run_dir} 4 exported" in told.out
    found = json.loads(flexsearch("choose", run_dir, "--max-quality", 12.5, "--json").out)
    assert found["trial"] == 6
    assert found["values"] == {"fid_fashion_cnn": 12.0, "latency_ms": 9.0}
    assert found["export"] == f"flexsearch export {run_dir} 6 exported"
    assert json.loads(flexsearch("choose", run_dir, "--knee", "--json").out)["rule"].startswith("the knee")


def test_the_old_name_of_max_quality_is_read_with_one_note(flexsearch: Call, run_dir: Path) -> None:
    told = flexsearch("choose", run_dir, "--max-fid", 12.5, "--json")
    assert told.code == 0
    assert json.loads(told.out) == json.loads(flexsearch("choose", run_dir, "--max-quality", 12.5, "--json").out)
    assert told.err == "note: --max-fid is called --max-quality now\n"
    assert "--max-fid" not in flexsearch("choose", "--help").out


def test_compare_shows_both(flexsearch: Call, run_dir: Path) -> None:
    told = flexsearch("compare", run_dir, 4, 6)
    assert told.code == 0
    assert told.out.count("block  ") == 2
    assert "trial 6 is 0.778 ± 0.0055 times as fast as trial 4" in told.out
    found = json.loads(flexsearch("compare", run_dir, 4, 6, "--json").out)
    assert found["measurements"]["latency_ms"]["difference"] == pytest.approx(2.0)
    assert found["plans_differ_in"]
    assert "the plans are the same" in flexsearch("compare", run_dir, 4, 4).out


def test_report_writes_one_file(flexsearch: Call, run_dir: Path, tmp_path: Path) -> None:
    told = flexsearch("report", run_dir, tmp_path / "page.html")
    assert (told.code, told.out) == (0, "")
    assert [path.name for path in tmp_path.glob("*.html")] == ["page.html"]
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_show_writes_the_picture(flexsearch: Call, run_dir: Path, tmp_path: Path) -> None:
    assert flexsearch("show", run_dir, 4, "--picture", tmp_path / "four.svg").code == 0
    picture = (tmp_path / "four.svg").read_text()
    assert "<svg" in picture
    sampling = Sampling.from_dict(json.loads(flexsearch("show", run_dir, 4, "--json").out)["schedule"])
    assert f"trial 4: {sampling}<" in picture, "its sampling is in the title"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["choose", "RUN", "--knee", "--max-quality", "9"], "but got 2"),
        (["choose", "RUN", "--max-latency", "0.1"], "nearest legal: 5"),
        (["choose", "RUN", "--max-quality", "0.1"], "nearest legal: 10"),
        (["choose", "RUN", "--max-quality", "9", "--max-fid", "9"], "is the old name of --max-quality, but got both"),
        (["choose", "RUN", "--knee", "--by", "quality"], "No such option: --by"),
        (["compare", "RUN", "4", "99"], "has no trial 99; nearest legal: 7"),
        (["report", "RUN", "page.txt"], "OUT: must end in .html, but got 'page.txt'"),
        (["report", "RUN"], "OUT: either this or --serve must be given, but got neither"),
        (["report", "RUN", "page.html", "--serve"], "OUT: either this or --serve must be given, but got both"),
        (["show", "RUN", "4", "--picture", "page.txt"], "--picture: must end in .png, .svg or .pdf"),
        (["report", "nowhere", "page.html"], "is not a run directory"),
    ],
)
def test_what_cannot_be_done(flexsearch: Call, run_dir: Path, arguments: list[str], line: str) -> None:
    told = flexsearch(*(run_dir if one == "RUN" else one for one in arguments))
    assert (told.code, told.out) == (2, "")
    assert line in told.err
    assert told.err.count("\n") == 1
