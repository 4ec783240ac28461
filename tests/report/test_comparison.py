"""Two trials: no difference across protocols, noise beside every difference, and plans compared cell by cell."""

import json
from pathlib import Path

import pytest
from fake_run import LATENCY, QUALITY, FakeRun, confirm, searched

from flexsearch.cli.results import front_of_run
from flexsearch.errors import UserError
from flexsearch.report.comparison import TrialComparison, compare_trials, differences
from flexsearch.report.run import Run
from flexsearch.schedule import DensitySchedule, TokenGrid
from flexsearch.schedule.presets import paper_schedule

GRID = TokenGrid(height=8, width=8)


def compared(run: Run, a: int, b: int) -> TrialComparison:
    return compare_trials(run, front_of_run(run), a, b)


def test_differences_and_noise(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run").make()
    found = compared(run, 4, 6)
    by_name = {one.a.name: one for one in found.measured}
    assert by_name[QUALITY].value == pytest.approx(-2.0)
    assert by_name[QUALITY].exceeds_noise is True
    assert by_name[LATENCY].value == pytest.approx(2.0)
    assert by_name["macs"].exceeds_noise is None
    assert found.latency_ratio.value == pytest.approx(7 / 9)
    assert found.latency_ratio.spread == pytest.approx(7 / 9 * 2**0.5 / 200)
    assert json.loads(json.dumps(found.to_dict()))["measurements"][QUALITY]["difference"] == pytest.approx(-2.0)
    assert found.confirmed == ()
    confirm(run, {0: (9.0, 20.0), 4: (13.0, 7.0), 6: (11.0, 9.0)})  # stands beside what was measured first
    quality, latency = compared(run, 4, 6).confirmed
    assert (quality.value, latency.value) == (pytest.approx(-2.0, abs=0.1), pytest.approx(2.0, abs=0.1))
    assert quality.exceeds_noise is True
    assert compared(run, 4, 5).confirmed == ()
    with pytest.raises(UserError, match=r"no trial 99; nearest legal: 7"):
        compared(run, 4, 99)


def test_a_difference_within_noise_is_called_so(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run", points=[(14.0, 7.0), (14.2, 7.01)]).make()
    assert [one.exceeds_noise for one in compared(run, 4, 5).measured if one.a.name != "macs"] == [False, False]


def test_other_protocols_give_no_difference(tmp_path: Path) -> None:
    run = FakeRun(folder=tmp_path / "run", images={6: 50}).make()
    quality = next(one for one in compared(run, 4, 6).measured if one.a.name == QUALITY)
    assert (quality.other_protocol, quality.value, quality.exceeds_noise) == (("images: 500 | 50",), None, None)


@pytest.mark.parametrize("schedule", [DensitySchedule.all_dense(12), paper_schedule(num_blocks=12, grid=GRID)])
def test_lines_cover_just_the_cells_that_differ(schedule: DensitySchedule) -> None:
    a, b = searched(0).schedule, schedule
    told = set()
    for line in differences(a, b, GRID):
        where = line.split(":")[0].split(",")
        low = float(where[0].removeprefix("time ").split("-")[0])
        first, *last = where[1].split()[1].split("-")
        told |= {(low, block) for block in range(int(first), int(last[0] if last else first) + 1)}
    lows = sorted({*a.timetable.edges[:-1], *b.timetable.edges[:-1]})
    differ = {
        (low, block)
        for low in lows
        for block in range(12)
        if a.route_at(low, GRID)[block] != b.route_at(low, GRID)[block]
    }
    assert told == differ
    assert differences(a, a, GRID) == []
