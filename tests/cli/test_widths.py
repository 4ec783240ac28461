"""Tables at 60, 80 and 120 columns and through a pipe: nothing is cut, no number and no schedule is broken."""

import json
import re
from pathlib import Path

import api
import pytest
from builders import Call
from fake_run import FakeRun, confirm, dense_under, searched

from flexsearch.cli.profile import print_profile
from flexsearch.report.fitted_table import Column, FittedTable
from flexsearch.report.run import Run
from flexsearch.schedule import Cache, Gain
from flexsearch.schedule.run_lengths import run_lengths

SPACES = Path(__file__).parents[2] / "search_spaces"
GAIN = Gain(stream=0.75, at=4, skip=0.9)
LONG = dense_under(10, solver="ab2", cache=Cache(full=0.5, reuse="modules", first=0, order=0), gain=GAIN)
MORE = [("dense-10-ab2-shift1.5-gain0.75@4", LONG, 12.3456, 10.1), (None, searched(9), 9.8765, 1234.5)]
WIDTHS = (60, 80, 120, None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return FakeRun(folder=tmp_path_factory.mktemp("widths") / "run", more=MORE).make()


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = FakeRun(folder=tmp_path_factory.mktemp("confirmed") / "run", more=MORE).make()
    confirm(made, {number: (10.0 + number, 5.0 + number) for number in (0, 4, 5, 8, 9)})
    return made


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trials 5, 4, 6 and 0 are its front, the fastest first; nothing was measured again."""
    return FakeRun(folder=tmp_path_factory.mktemp("named") / "run").make()


@pytest.fixture(params=WIDTHS, ids=str)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if request.param is not None:
        monkeypatch.setenv("COLUMNS", str(request.param))
    return request.param  # type: ignore[no-any-return]


def checked(text: str, width: int | None) -> str:
    assert "…" not in text
    paths = ("/", "take it: ")
    wide = [line for line in text.splitlines() if len(line) > (width or 10_000) and not line.startswith(paths)]
    assert wide == []
    return text


def test_front(flexsearch: Call, run: Run, width: int | None) -> None:
    text = checked(flexsearch("front", run.folder).out, width)
    rows = json.loads(flexsearch("front", run.folder, "--json").out)
    for row in (*rows["front"], *rows["baselines"]):
        assert f"{row['values']['fid_fashion_cnn']:.2f}" in text
    for record in run.store.trials():
        schedule = run_lengths(str(record.candidate.schedule))
        assert schedule in text or record.baseline or record.number not in {one["trial"] for one in rows["front"]}
    lines = [line for line in text.splitlines() if re.match(r" +9  ", line)]
    assert len(lines) == 1
    assert all(run_lengths(str(searched(9).schedule)) in line for line in lines), "grids stay with their blocks"
    if width is None:
        assert all("x5" in line for line in lines), "a row is a line"
        assert "speed-up" in text
        assert "MACs" in text.splitlines()[1]
    if width == 60:
        assert "MACs" not in text.splitlines()[1]


def test_a_front_that_was_measured_again(flexsearch: Call, confirmed: Run, width: int | None) -> None:
    text = checked(flexsearch("front", confirmed.folder).out, width)
    rows = [line for line in text.splitlines() if re.match(r" +(0|4|5|8|9)  ", line)]
    assert len(rows) == 5
    assert run_lengths(str(searched(9).schedule)) in text
    assert ("on the" in text) == (width not in (60, 80))


@pytest.mark.parametrize("number", [3, 8])
def test_show(flexsearch: Call, run: Run, width: int | None, number: int) -> None:
    text = checked(flexsearch("show", run.folder, number).out, width)
    drawn = json.loads(flexsearch("show", run.folder, number, "--json").out)["drawn"]
    blocks = [line.split() for line in text.splitlines() if line.startswith("role")]
    assert [role for line in blocks for role in line[1:]] == drawn[2].split()[1:]
    assert "fid_fashion_cnn" in text
    assert "images 500" in " ".join(text.split())


def test_compare(flexsearch: Call, run: Run, width: int | None) -> None:
    text = checked(flexsearch("compare", run.folder, 8, 9).out, width)
    for part in ("fid_fashion_cnn", "latency_ms", "12.35", "9.877", "-2.469", "1234", "modules"):
        assert part in text
    assert ("MACs/image" in text) == (width != 60)


def test_choose(flexsearch: Call, run: Run, width: int | None) -> None:
    text = checked(flexsearch("choose", run.folder, "--max-latency", 6).out, width)
    assert run_lengths(str(searched(1).schedule)) in text


@pytest.mark.parametrize(("word", "number"), [("5", 5), ("8ms", 4), ("7ms", 4), ("5.5ms", 5), ("best", 5), ("knee", 6)])
def test_a_trial_is_named_by_a_rule(flexsearch: Call, named: Run, word: str, number: int) -> None:
    assert json.loads(flexsearch("show", named.folder, word, "--json").out)["trial"] == number
    assert json.loads(flexsearch("compare", named.folder, word, 0, "--json").out)["a"]["trial"] == number


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("x", "TRIAL: must be the number of a trial, best, knee, or a latency such as 8ms, but got 'x'"),
        ("99", "has no trial 99; nearest legal: 7"),
        ("1ms", "TRIAL 1ms: no point of the front takes at most 1 ms/image"),
    ],
)
def test_other_words_are_refused(flexsearch: Call, named: Run, word: str, message: str) -> None:
    for command in (("show", named.folder, word), ("export", named.folder, word, named.folder / "out")):
        outcome = flexsearch(*command)
        assert outcome.code == 2
        assert message in outcome.err


@pytest.mark.parametrize("space", ["dit_xl.yaml", "quickstart.yaml", "dit_xl_free.yaml"])
def test_plan(flexsearch: Call, width: int | None, space: str) -> None:
    text = checked(flexsearch("plan", SPACES / space).out, width)
    for row in json.loads(flexsearch("plan", SPACES / space, "--json").out)["baselines"]:
        assert run_lengths(row["schedule"]) in text
        assert f"{row['macs_ratio']:.1%}" in text
        assert width == 60 or f"{row['params'] / 1e6:.2f} M" in text


def test_profile(capsys: pytest.CaptureFixture[str], width: int | None) -> None:
    made = api.profile_of(api.read_json("profile.json")).profile
    found = {**made.to_dict(), "plateaus": [{"grids": ["2x2", "3x3", "4x4"], "within": 0.01}], "file": "profile.json"}
    print_profile({**found, "protocol": {**made.protocol, "torch": "2.15"}})
    text = checked(capsys.readouterr().out, width)
    for one in made.operations:
        assert re.search(rf"{one.role} +{one.keys} +{one.queries} +{re.escape(f'{one.ms:.3g}')} ", text)


def test_help_is_grouped_and_whole(flexsearch: Call) -> None:
    text = flexsearch().out
    assert all(len(line) <= 80 for line in text.splitlines())
    assert [line for line in text.splitlines() if re.fullmatch(r"\w+:", line)] == [
        "Options:", "Search:", "Look:", "Decide:", "Take:", "Prepare:",
    ]  # fmt: skip
    assert "..." not in text.replace("[ARGS]...", "")
    assert flexsearch("help").out == flexsearch("-h").out == text
    assert flexsearch("help", "show").out == flexsearch("show", "-h").out
    assert flexsearch("-V").out == flexsearch("--version").out


def test_completion_knows_the_commands(flexsearch: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_FLEXSEARCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "flexsearch sh")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert flexsearch().out.split() == ["show"]


def test_columns_leave_by_priority_and_names_break_at_hyphens() -> None:
    table = FittedTable(
        [Column(heading="name", is_text=True), Column(heading="a\nb"), Column(heading="c", leaves=1)], title="t"
    )
    table.add_row("one-two-three\nx 1.5", "123", "4567")
    assert [line.plain for line in table.lines(100)] == [
        "name                 a b     c",
        "─" * 30,
        "one-two-three x 1.5  123  4567",
    ]
    assert [line.plain for line in table.lines(25)][3:] == ["one-two-three  123  4567", "x 1.5"]
    assert [line.plain for line in table.lines(20)][3:] == ["one-two-three  123", "x 1.5"]
    assert [line.plain for line in table.lines(14)][3:] == ["one-two-   123", "three", "x 1.5"]


@pytest.mark.parametrize(
    ("written", "short"),
    [
        ("PPMsssRDMsssRDMsssRDMsssRDDD @10,8,7,6", "PP(MsssRD)x4DD @10,8,7,6"),
        ("PMssssssssRD @4,2", "PM(s)x8RD @4,2"),
        ("PPPPMsssRDDD @5", "PPPPMsssRDDD @5"),
        ("DDDDDDDDDDDD x10 FpFpFpFpFp 0 modules", "(D)x12 x10 (Fp)x5 0 modules"),
    ],
)
def test_repeats_are_counted_where_that_is_shorter(written: str, short: str) -> None:
    assert run_lengths(written) == short
