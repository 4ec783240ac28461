"""Where the outlook is shown: table, summary, CSV, JSON, page, and what is measured again."""

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
from fake_run import FakeRun
from rich.console import Console

from flexsearch.cli.results import front_of_run
from flexsearch.report.front import Front
from flexsearch.report.near_front import to_confirm
from flexsearch.report.page import render
from flexsearch.report.run import Run
from flexsearch.report.table import front_frame, front_table, summary_lines
from flexsearch.study.store import TrialRecord

PAIRED_DISTANCES = {0: 0.0, 1: 0.2, 2: 0.4, 3: 0.5, 4: 0.4, 5: 0.9, 6: 0.3, 7: 0.1}
"""Trial 7 is dominated by what was measured, and no other is as fast with a better outlook."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return FakeRun(folder=tmp_path_factory.mktemp("outlook") / "run", paired_distances=PAIRED_DISTANCES).make()


@pytest.fixture(scope="module")
def front(run: Run) -> Front:
    return front_of_run(run)


def numbers(records: Sequence[TrialRecord]) -> list[int]:
    return [record.number for record in records]


def test_the_table_lists_the_front_then_what_is_promising_then_baselines(front: Front) -> None:
    assert [numbers(section) for section in front.sections] == [[5, 4, 6, 0], [7], [1, 2, 3]]
    console = Console(width=120, record=True, file=StringIO())
    console.print(front_table(front))
    lines = console.export_text().splitlines()
    shown = {int(line.split()[0]): line.rstrip() for line in lines if line.split() and line.split()[0].isdigit()}
    assert list(shown) == [5, 4, 6, 0, 7, 1, 2, 3]
    assert shown[7].endswith("17.6*")
    assert shown[6].endswith("20.8")
    assert any(line.startswith("Outlook: ") for line in summary_lines(front))


def test_files_and_json_have_it(front: Front) -> None:
    frame = front_frame(front).set_index("trial")
    assert frame.loc[7, "outlook"] == pytest.approx(17.6)
    assert frame.index[frame["promising"]].tolist() == [0, 3, 4, 5, 7]
    found = json.loads(json.dumps(front.to_dict()))
    assert [row["trial"] for row in found["promising"]] == [5, 4, 7, 3, 0]
    assert found["front"][0]["outlook"] == pytest.approx(16 * 1.9)


def test_the_page_has_it(run: Run, front: Front) -> None:
    page = render(run, front)
    assert "<th>outlook</th>" in page
    assert "<td>17.6*</td>" in page


def test_without_drift_nothing_of_it_is_shown(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run").make()
    front = front_of_run(run)
    assert front.predicted_front == ()
    assert "outlook" not in front.row(front.points[0])
    assert "<th>outlook</th>" not in render(run, front)
    assert not any(line.startswith("Outlook") for line in summary_lines(front))
    assert "outlook" not in [column.header for column in front_table(front).columns]


def test_what_is_promising_is_measured_again_before_what_is_near(front: Front) -> None:
    assert 7 in numbers(to_confirm(front))
    on_front = [record for record in front.points if record.baseline is None]
    few = numbers(to_confirm(front, top=len(on_front) + 1))
    assert few == [0, 1, 2, 3, 4, 5, 6, 7]
    assert 7 not in numbers(to_confirm(front, top=len(on_front)))
