"""A schedule drawn as text."""

from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.shape import TokenGrid

from flexsearch.report.trial_page import draw_schedule
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.timetable import Timetable


def test_every_stage_shows_the_tokens_of_every_block() -> None:
    segments = (Pooling(depth=1), Sdtm(sparse=1, dense=0), Dense(depth=1))
    timetable = Timetable(edges=(0, 0.5, 1), grids=(8, 4), frames=4)
    schedule = DensitySchedule(segments=segments, timetable=timetable)
    lines = draw_schedule(schedule, TokenGrid(frames=16, height=32, width=32))
    assert lines[1].split() == ["role", "pool", "merg", "spar", "reco", "dens"]
    assert [line.split()[1:] for line in lines[2:]] == [
        ["16384", "256", "256", "16384", "16384"],
        ["16384", "64", "64", "16384", "16384"],
    ]
    assert len({len(line) for line in lines}) == 1
