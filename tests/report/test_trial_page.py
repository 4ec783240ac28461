"""A trial as text: its schedule drawn, its sampling in short."""

from rich.console import Console

from flexsearch.report.trial_page import draw_schedule, print_trial
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.gain import Gain
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid
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


def test_the_whole_sampling_is_printed() -> None:
    sampling = Sampling(steps=6, solver="ab2", cache=Cache(pattern="FFpFpp"), gain=Gain(stream=0.9, at=4))
    page = {
        "trial": 3,
        "state": "complete",
        "reason": None,
        "baseline": None,
        "digest": "d",
        "drawn": [],
        "schedule": sampling.to_dict(),
        "measurements": [],
        "curve": [],
        "rungs": [],
        "files": [],
    }
    console = Console(record=True, width=200)
    print_trial(page, console)
    assert f"digest d, sampling {sampling}\n" in console.export_text()
