"""The clock of a run, on a made-up time."""

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from builders import Call

from flexsearch.config import parse_config
from flexsearch.schedule import Candidate, DensitySchedule, Sampling
from flexsearch.study.repeats import OrderQueue
from flexsearch.study.run_clock import RunClock
from flexsearch.study.search import Search
from flexsearch.study.time_left import TimeLeft, said
from flexsearch.trial.contract import TrialOrder


class Time:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def run(left: TimeLeft, time: Time, kind: str, work: float, seconds: float) -> None:
    left.begin("one", kind, work)
    time.now += seconds
    left.end("one")


def test_nothing_is_said_before_anything_tells(time: Time) -> None:
    left = TimeLeft(time)
    left.expect({"trial": [1.0] * 10})
    assert left.seconds() is None
    assert said(None) == ""


def test_a_kind_takes_its_own_median_and_another_kind_what_is_known(time: Time) -> None:
    left = TimeLeft(time)
    for seconds in (4.0, 5.0, 60.0):
        run(left, time, "trial", 1.0, seconds)
    left.expect({"trial": [1.0, 2.0]})
    assert left.seconds() == pytest.approx(15)
    left.expect({"repeat": [3.0]})
    assert left.seconds() == pytest.approx(15)
    run(left, time, "repeat", 3.0, 30.0)
    assert left.seconds() == pytest.approx(30)


def test_a_start_of_seconds_tells_nothing_of_other_kinds(time: Time) -> None:
    left = TimeLeft(time)
    run(left, time, "teacher", 1.0, 3.0)
    left.expect({"trial": [1.0]})
    assert left.seconds() is None


def test_within_a_trial_the_estimate_falls_and_never_rises(time: Time) -> None:
    left = TimeLeft(time)
    run(left, time, "trial", 1.0, 20.0)
    left.begin(1, "trial", 1.0)
    left.expect({"trial": [1.0]})
    found = []
    for _ in range(120):
        found.append(left.seconds() or 0.0)
        time.now += 0.25
    assert found[0] == 40
    assert all(later <= earlier for earlier, later in pairwise(found))
    assert found[-1] == 20, "a trial that takes longer holds the clock, and no more"


def test_what_tells_its_share_is_estimated_by_it_from_where_it_went_on(time: Time) -> None:
    left = TimeLeft(time)
    left.begin("warm start", "warm start", 100.0)
    left.advance("warm start", 0.5)
    time.now = 30.0
    left.advance("warm start", 0.75)
    assert left.seconds() == pytest.approx(30)
    left.expect({"trial": [10.0]})
    assert left.seconds() == pytest.approx(30 + 10 * 30 / 25)


def test_trials_beside_each_other_share_what_waits_and_the_longest_counts(time: Time) -> None:
    left = TimeLeft(time)
    run(left, time, "trial", 1.0, 20.0)
    left.slots = 4
    left.expect({"trial": [1.0] * 8})
    assert left.seconds() == 40
    left.begin(1, "trial", 3.0)
    left.expect({})
    assert left.seconds() == 60


def test_what_was_told_holds_until_the_first_has_ended(time: Time) -> None:
    left = TimeLeft(time)
    left.tell("repeat", 2.0)
    left.expect({"repeat": [1.0] * 3})
    assert left.seconds() == 6
    run(left, time, "repeat", 1.0, 4.0)
    assert left.seconds() == 12


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2, "about 5 s"),
        (42, "about 40 s"),
        (58, "about 1 min, until 14:30"),
        (4 * 60, "about 4 min, until 14:33"),
        (2 * 3600 + 9 * 60, "about 2 h 09 min, until 16:38"),
        (12 * 3600, "about 12 h 00 min, until Tuesday 02:29"),
    ],
)
def test_estimates_are_said_in_minutes(seconds: float, text: str) -> None:
    assert said(seconds, now=datetime(2026, 11, 30, 14, 29, 30)) == text


@pytest.fixture
def clock(tiny_config: Call, time: Time) -> RunClock:
    changes = {"trials": 6, "noise_schedules": 2, "noise_seeds": 1}
    config = parse_config(tiny_config(search=changes, warm_start={"updates": 100, "batch": 4}))
    return RunClock(config.trial_settings, config.search, now=time)


def order(number: int, steps: int = 2, **changes: Any) -> TrialOrder:
    candidate = Candidate(schedule=DensitySchedule.all_dense(8), sampling=Sampling(steps=steps))
    return TrialOrder(number=number, candidate=candidate, run_dir=Path(), seed=0, **changes)


def test_one_clock_runs_from_the_warm_start_to_the_noise(clock: RunClock, time: Time) -> None:
    said_: list[float | None] = []

    def tell() -> None:
        said_.append(clock.left.seconds())

    for done in range(1, 101):
        time.now += 1.0
        clock.preparing("warm start", done, 100)
        tell()
    assert said_[0] is None
    assert said_[20] is not None
    search = SimpleNamespace(num_finished=0, missing_baselines=[order(0).candidate])
    clock.searching(cast(Search, search), slots=1)
    for number in range(6):
        search.missing_baselines = []
        clock.started(order(number, baseline="dense" if not number else None))
        time.now += 12.0
        search.num_finished += 1
        clock.ended(number, counts=True)
        tell()
    assert said_[-1] is not None, "the noise is still to be measured"
    assert said_[-1] > 0
    assert said_[-2] == pytest.approx(said_[-1] + 12)
    queue = OrderQueue([order(1, kind="repeat")], record=lambda *_: None, farewell="")
    clock.repeating(queue)
    clock.started(cast(TrialOrder, queue.next()))
    assert clock.left.seconds() is not None
    time.now += 12.0
    clock.ended(1, counts=True)
    assert clock.left.seconds() == 0


def test_a_confirmation_is_estimated_before_it_begins(clock: RunClock, time: Time) -> None:
    record = SimpleNamespace(candidate=order(0).candidate, seconds={"sample": 3.0, "score": 1.0, "fine-tune": 50.0})
    clock.learn([cast(Any, record)])
    images = 4 * 20
    queue = OrderQueue([order(number, kind="repeat") for number in range(3)], record=lambda *_: None, farewell="")
    clock.repeating(queue, images=images)
    timed = 2 * 3 * 8
    assert clock.left.seconds() == pytest.approx(3 * 4.0 * (images + timed) / (20 + timed))
