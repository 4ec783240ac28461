"""A run drawn as text."""

import pytest

from flexsearch.measurement import rounded
from flexsearch.report.trial_page import draw_run, draw_schedule
from flexsearch.schedule import (
    Cache,
    Candidate,
    Dense,
    DensitySchedule,
    GuidanceRows,
    Pooling,
    Sampling,
    Sdtm,
    Target,
    Timetable,
    TokenGrid,
    lower,
)
from flexsearch.schedule.presets import PRESETS


@pytest.mark.parametrize(
    ("spread", "digits", "text"),
    [(0.035, 2, "0.035"), (0.0341, 1, "0.03"), (12.3, 1, "10"), (86.9, 1, "90"), (1234.5, 2, "1200"), (0.0, 1, "0")],
)
def test_a_spread_is_never_a_power_of_ten(spread: float, digits: int, text: str) -> None:
    assert rounded(spread, digits) == text


def test_every_stage_shows_the_tokens_of_every_block() -> None:
    segments = (Pooling(depth=1), Sdtm(sparse=1, dense=0), Dense(depth=1))
    timetable = Timetable(edges=(0, 0.5, 1), grids=(8, 4), frames=4)
    schedule = DensitySchedule(segments=segments, timetable=timetable)
    lines = draw_schedule(schedule, TokenGrid(frames=16, height=32, width=32))
    assert lines[1].split() == ["role", "P", "M", "s", "R", "D"]
    assert [line.split()[1:] for line in lines[2:]] == [
        ["16384", "256", "256", "16384", "16384"],
        ["16384", "64", "64", "16384", "16384"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_steps_stand_above_the_blocks_with_their_rows() -> None:
    preset = PRESETS["flexdit_b_256_r61_86"]
    sampling = Sampling(steps=6, cache=Cache(pattern="FpFpnF"), guidance=GuidanceRows(every=2))
    plan = lower(Candidate(schedule=preset.schedule, sampling=sampling), Target(shape=preset.shape, is_guided=True))
    lines = draw_run(plan)
    assert [line.split() for line in lines[:2]] == [["steps", "FpFpnF"], ["rows", "2211-2"]]
    assert lines[2:] == draw_schedule(preset.schedule, preset.shape.grid)
