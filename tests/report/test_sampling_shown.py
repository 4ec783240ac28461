"""A run whose points differ in solver, reuse and gain: what is free is marked, and sampling is said everywhere."""

import json
from dataclasses import replace
from io import StringIO
from itertools import combinations

import pytest
from fake_run import FakeRun, confirm, dense_under, searched
from matplotlib.text import Annotation
from rich.console import Console

from flexsearch.cli.compare import print_comparison
from flexsearch.cli.results import front_of_run
from flexsearch.report.choice import choose, reasons
from flexsearch.report.claim import headline
from flexsearch.report.comparison import compare_trials
from flexsearch.report.front import Front
from flexsearch.report.galleries import shown_trials
from flexsearch.report.page import render
from flexsearch.report.plot import front_picture
from flexsearch.report.run import Run
from flexsearch.report.series import series_of
from flexsearch.report.table import front_frame, front_table
from flexsearch.schedule import Cache, Gain, GuidanceRows, Sampling

GAIN = Gain(stream=0.9, at=4)
REUSED = Sampling(steps=6, solver="ab2", cache=Cache(pattern="FFpFpp"), gain=GAIN)
MORE = [
    ("dense, 5 steps, dpmsolver++, best gain", dense_under(5, solver="dpmsolver++", gain=GAIN), 11.0, 10.1),
    ("dense, 3 steps, dpmsolver++, best gain", dense_under(3, solver="dpmsolver++", gain=GAIN), 19.0, 6.2),
    ("FORA 2, 10 steps", dense_under(10, cache=Cache(full=0.5, reuse="modules", first=0, order=0)), 15.0, 11.0),
    (None, dense_under(6, solver="ab2", cache=Cache(pattern="FFpFpp"), gain=GAIN), 9.8, 7.0),
    (None, replace(searched(9), sampling=replace(REUSED, guidance=GuidanceRows(start=0.1, end=0.8))), 12.0, 4.0),
    (None, replace(searched(10), sampling=REUSED), 9.0, 8.0),
]
"""Trials 8 to 13: three free baselines, then of the searched one that is free and two that were trained."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = FakeRun(folder=tmp_path_factory.mktemp("sampling") / "run", more=MORE).make()
    everything = {record.number: front_of_run(made).values(record) for record in front_of_run(made).complete.values()}
    confirm(made, {number: everything[number] for number in (0, 1, 2, 3, *range(8, 14))})
    return made


@pytest.fixture(scope="module")
def front(run: Run) -> Front:
    return front_of_run(run)


def test_of_many_other_trials_some_are_drawn_and_it_is_said(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flexsearch.report.series.MOST_OTHERS", 3)
    others = series_of(replace(front, confirmation=None))[1]
    assert (others.name, [point.record.number for point in others.points]) == ("other trials (3 of 5)", [5, 7, 10])


def test_series_part_what_is_free_from_what_was_trained(front: Front) -> None:
    numbers = {
        one.name: [point.record.number for point in one.points] for one in series_of(replace(front, confirmation=None))
    }
    assert numbers == {
        "not measured again": [],
        "other trials": [5, 4, 7, 6, 10],
        "dense base, own solver, fewer steps": [2, 1, 0],
        "free baselines' front": [2, 9, 1, 8, 0],
        "published schedule": [3],
        "searched, on the front: free": [11],
        "searched, on the front: trained": [12, 13],
    }


def test_the_headline_compares_with_the_best_that_is_free(front: Front) -> None:
    """Between 16 at 10 ms and 11 at 10.1 ms, 12 takes 10.1 ms of what is free; trial 12 takes 4."""
    claim, found = headline(front.as_searched, quality="fid")
    assert found is not None
    assert found.record.number == 12
    assert claim == (
        "2.52x (95 %: 2.47 to 2.57) as fast as the training-free baselines at equal fid: trial 12 takes 4 ms per "
        "image, not 10.1 ms (between trials 1 and 8)."
    )
    over = front.row(front.complete[13]).speedup_over_found
    assert over is not None
    assert (over.bound, over.value) == ("at least", pytest.approx(7 / 8, rel=0.01)), "trial 11, the best that is free"
    assert set(shown_trials(front, found)) >= {0, 3, 8, 12}


@pytest.mark.parametrize("is_confirmed", [False, True])
def test_tables_fit_80_columns(front: Front, is_confirmed: bool) -> None:
    table = front_table(front if is_confirmed else replace(front, confirmation=None))
    console = Console(width=80, record=True, file=StringIO())
    console.print(table)
    text = console.export_text()
    stays = [place for place, column in enumerate(table.columns) if place != 1 and column.leaves is None]
    rows = [[column.heading for column in table.columns], *table.rows]
    cells = [row[place] for row in rows for place in stays]
    assert all(line.strip() in text for cell in cells for line in cell.split("\n")), "nothing is cut off"
    words = " ".join(text.split())
    assert "x6 ab2 FFpFpp 1" in words
    what = {row[0]: row[1] for row in table.rows}
    assert set(what) >= {"11", "12", "13"}
    assert what["11"].startswith("free (D)x12\nx6 ab2 FFpFpp")


def test_files_json_and_page_say_the_sampling(run: Run, front: Front) -> None:
    frame = front_frame(front).set_index("trial")
    assert frame.loc[11, ["steps", "sampling", "free"]].tolist() == [6, "x6 ab2 FFpFpp 1 gain 0.9@4", True]
    assert frame.loc[13, "gain_over_all_free"] == pytest.approx(0.8)
    told = json.loads(json.dumps(front.to_dict()))
    row = next(one for one in told["front"] if one["trial"] == 13)
    assert (row["sampling"], row["free"]) == ("x6 ab2 FFpFpp 1 gain 0.9@4", False)
    assert row["speedup"]["verdict"] == "faster"
    page = render(run, front)
    assert all(str(record.candidate.sampling) in page for record in (*front.points, *front.baselines))
    assert ">free</span>" in page


def test_names_in_the_picture_stay_apart_and_off_the_legend(front: Front) -> None:
    figure = front_picture(front)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    names = [text for text in axes.texts if isinstance(text, Annotation)]
    assert {"11", "12", "13", "5 steps"} <= {text.get_text() for text in names}
    boxes = [text.get_window_extent() for text in names]
    legend = axes.get_legend()
    assert legend is not None
    assert not any(a.overlaps(b) for a, b in combinations([*boxes, legend.get_window_extent()], 2))
    room = axes.get_window_extent()
    assert all(room.x0 <= box.x0 and box.x1 <= room.x1 for box in boxes)


def test_choosing_and_comparing_say_it_too(run: Run, front: Front) -> None:
    found = choose(front, max_latency_ms=7.5)
    told = json.loads(json.dumps(found.to_dict()))
    assert (told["trial"], told["free"], told["sampling"]) == (11, True, "x6 ab2 FFpFpp 1 gain 0.9@4")
    assert told["gain"]["as_good_as_dense_steps"] == 10
    assert any("with nothing trained" in line for line in reasons(found))
    compared = compare_trials(run, front, 0, 11)
    assert compared.plans[0] == "sampling: x10 | x6 ab2 FFpFpp 1 gain 0.9@4"
    assert compared.to_dict()["b"]["sampling"] == "x6 ab2 FFpFpp 1 gain 0.9@4"
    console = Console(width=80, record=True, file=StringIO())
    print_comparison(compared, console)
    text = console.export_text()
    assert "steps     FFpFpp" in text
    assert "fid_fashion_cnn" in text
