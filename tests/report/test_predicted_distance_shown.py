"""Where the predicted distance is shown: table, summary, CSV, JSON, page, and what is measured again."""

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
from fake_run import PAIRED_DISTANCES, FakeRun, confirm
from rich.console import Console

from flexsearch.cli.results import front_of_run
from flexsearch.report.front import Front
from flexsearch.report.near_front import to_confirm
from flexsearch.report.page import render
from flexsearch.report.run import Run
from flexsearch.report.table import confirmed_table, front_frame, front_table, summary_lines
from flexsearch.study.store import TrialRecord


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return FakeRun(folder=tmp_path_factory.mktemp("predicted") / "run", paired_distances=PAIRED_DISTANCES).make()


@pytest.fixture(scope="module")
def front(run: Run) -> Front:
    return front_of_run(run)


def numbers(records: Sequence[TrialRecord]) -> list[int]:
    return [record.number for record in records]


def test_the_table_lists_the_front_then_the_predicted_front_then_baselines(front: Front) -> None:
    assert [numbers([row.record for row in section]) for section in front.sections] == [[5, 4, 6, 0], [7], [1, 2, 3]]
    rows = {row.record.number: row.printed["predicted_distance"] for section in front.sections for row in section}
    assert (rows[7], rows[6]) == ("17.6*", "20.8 ")
    assert any(line.startswith("Predicted distance ") for line in summary_lines(front))


def test_tables_fit_80_columns(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run", paired_distances=PAIRED_DISTANCES).make()
    confirm(run, {0: (109.0, 120.0), 1: (15.0, 10.0), 4: (14.0, 7.0), 5: (22.0, 5.0)})
    front = front_of_run(run)
    for table in (confirmed_table(front), front_table(front)):
        console = Console(width=80, record=True, file=StringIO())
        console.print(table)
        text = console.export_text()
        stays = [place for place, column in enumerate(table.columns) if place != 1 and column.leaves is None]
        rows = [[column.heading for column in table.columns], *table.rows]
        cells = [row[place] for row in rows for place in stays]
        assert all(line.strip() in text for cell in cells for line in cell.split("\n")), "nothing is cut off"
        assert max(column.heading.count("\n") for column in table.columns) == 1


def test_files_json_and_page_have_it(run: Run, front: Front) -> None:
    frame = front_frame(front).set_index("trial")
    assert frame.loc[7, "predicted_distance"] == pytest.approx(17.6)
    assert frame.index[frame["predicted_front"]].tolist() == [0, 3, 4, 5, 7]
    found = json.loads(json.dumps(front.to_dict()))
    assert [row["trial"] for row in found["predicted_front"]] == [5, 4, 7, 3, 0]
    assert found["front"][0]["predicted_distance"] == pytest.approx(16 * 1.9)
    assert "<th>predicted<br>distance</th>" in render(run, front)


def test_without_paired_distances_nothing_of_it_is_shown(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run").make()
    front = front_of_run(run)
    assert front.predicted_front == ()
    assert "predicted_distance" not in front.row(front.points[0]).to_dict()
    assert "<th>predicted<br>distance</th>" not in render(run, front)
    assert not any(line.startswith("Predicted") for line in summary_lines(front))
    assert "predicted\ndistance" not in [column.heading for column in front_table(front).columns]


def test_the_predicted_front_is_measured_again_before_what_is_near(front: Front) -> None:
    assert 7 in numbers(to_confirm(front))
    few = numbers(to_confirm(front, top=len(front.searched) + 1))
    assert few == [0, 1, 2, 3, 4, 5, 6, 7]
    assert 7 not in numbers(to_confirm(front, top=len(front.searched)))
