"""Baselines in waves inside a search: before anything else, one after the other, and the same after every kill."""

from pathlib import Path
from typing import Any

import pytest
from builders import Call, Killed

from flexsearch.space import SearchSpace
from flexsearch.study.executor import Finished, Wait, run_locally
from flexsearch.trial.contract import Report, TrialOrder, TrialResult

NUM = 23
"""Baselines of the space with every axis, see `test_baselines.py`."""
WAVES = (8, 12, 14)
"""Baselines before each wave."""


def table(search: Any) -> list[tuple[int, str, str, str | None]]:
    return [(record.number, record.digest, record.state, record.baseline) for record in search.store.trials()]


@pytest.fixture
def whole(open_search: Call, sampling_space: SearchSpace, run_trial: Call, tmp_path: Path) -> Any:
    search = open_search(run_dir=tmp_path / "whole", space=sampling_space, trials=NUM + 2)
    run_locally(search, run_trial)
    return search


@pytest.mark.parametrize("killed_at", [7, 8, 13, NUM])
def test_a_search_killed_in_or_between_waves_ends_as_an_uninterrupted_one(
    whole: Any,
    open_search: Call,
    sampling_space: SearchSpace,
    run_trial: Call,
    tmp_path: Path,
    killed_at: int,
) -> None:
    records = whole.store.trials()
    assert [record.baseline is None for record in records] == [False] * NUM + [True] * 2
    assert "dense-10-ab2-gain0.9@4" in {record.baseline for record in records}

    def dies(order: TrialOrder, report: Report) -> TrialResult:
        if order.number == killed_at:
            raise Killed
        return run_trial(order, report)

    options = {"run_dir": tmp_path / "killed", "space": sampling_space, "trials": NUM + 2}
    with pytest.raises(Killed):
        run_locally(open_search(**options), dies)
    resumed = open_search(**options)
    assert resumed.has_unfinished
    run_locally(resumed, run_trial)
    assert table(resumed) == table(whole)


def test_trials_that_are_reached_do_not_end_the_waves(
    open_search: Call, sampling_space: SearchSpace, run_trial: Call
) -> None:
    """Killed just after the last baseline of a wave: what the next one holds is known when the search is opened."""
    search = open_search(space=sampling_space, trials=3)
    for _ in range(WAVES[0]):
        order = search.next()
        search.finished(order.number, run_trial(order))
    resumed = open_search(space=sampling_space, trials=3)
    assert resumed.has_unfinished
    run_locally(resumed, run_trial)
    assert resumed.num_finished == NUM
    assert not open_search(space=sampling_space, trials=3).has_unfinished


def test_several_at_once_wait_for_the_wave_alone(
    open_search: Call, sampling_space: SearchSpace, run_trial: Call
) -> None:
    search = open_search(space=sampling_space, trials=NUM + 6)
    live: list[TrialOrder] = []
    waited_at: set[int] = set()
    while not isinstance(order := search.next() if len(live) < 3 else None, Finished):
        if isinstance(order, TrialOrder):
            live.append(order)
            continue
        if isinstance(order, Wait) and search.num_finished + len(live) < NUM + 6:
            waited_at.add(search.num_finished + len(live))
        done = live.pop(len(live) // 2)
        search.finished(done.number, run_trial(done))
    assert waited_at == set(WAVES), "nothing follows from the last, so what is searched may run beside it"
    records = search.store.trials()
    assert [record.baseline is None for record in records] == [False] * NUM + [True] * 6


def test_a_baseline_that_fails_holds_nothing_up(
    open_search: Call, sampling_space: SearchSpace, run_trial: Call
) -> None:
    def breaks(order: TrialOrder, report: Report) -> TrialResult:
        if order.baseline == "dense-5-ab2":
            raise ZeroDivisionError("one over zero")
        return run_trial(order, report)

    search = open_search(space=sampling_space, trials=NUM)
    run_locally(search, breaks)
    names = {record.baseline for record in search.store.trials() if record.state == "complete"}
    assert "dense-10-unipc-gain0.9@4" in names
    assert "dense-5-ab2" not in names
