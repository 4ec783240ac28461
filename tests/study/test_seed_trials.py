"""Schedules that a search is seeded with: tried after the baselines, each drawn as a free one of the front."""

from dataclasses import replace
from pathlib import Path

import pytest
from builders import Call, Killed

from flexsearch.space import SearchSpace
from flexsearch.study.executor import run_locally
from flexsearch.study.store import TrialRecord
from flexsearch.trial.contract import Report, TrialOrder, TrialResult

SEEDS = ({"pooling.depth": 1}, {"pooling.depth": 2}, {"pooling.depth": 3})
OBJECTIVES = ("fid_fashion_cnn", "latency_ms")
NUM = 23
"""Baselines of the space with every axis, see `test_baselines.py`."""


def table(records: list[TrialRecord]) -> list[tuple[int, str, str, str | None]]:
    return [(record.number, record.candidate.digest, record.state, record.baseline) for record in records]


@pytest.fixture
def whole(open_search: Call, sampling_space: SearchSpace, run_trial: Call, tmp_path: Path) -> list[TrialRecord]:
    search = open_search(run_dir=tmp_path / "whole", space=sampling_space, trials=NUM + 5, seeds=SEEDS)
    run_locally(search, run_trial)
    found: list[TrialRecord] = search.store.trials()
    return found


def test_they_are_tried_first_as_the_front_of_what_is_free_draws(whole: list[TrialRecord]) -> None:
    baselines, searched = whole[:NUM], whole[NUM:]
    assert all(record.baseline is not None for record in baselines)
    schedules = [record.candidate.schedule for record in searched[:3]]
    assert [one.roles.count("pool") for one in schedules] == [1, 2, 3]
    dense = baselines[0].candidate.schedule
    free = {record.candidate.digest: record for record in baselines if record.candidate.schedule.is_dense}
    drawn = [free[replace(record.candidate, schedule=dense).digest] for record in searched[:3]]
    known = [record for record in free.values() if record.candidate.sampling.cache.reuse != "modules"]  # as the space
    for record in drawn:
        quality, latency = map(record.measurements.__getitem__, OBJECTIVES)
        assert not any(
            one.measurements[OBJECTIVES[0]].value < quality.value
            and one.measurements[OBJECTIVES[1]].value <= latency.value
            for one in known
        )
    latencies = [record.measurements[OBJECTIVES[1]].value for record in drawn]
    assert latencies == sorted(latencies, reverse=True)
    assert latencies[0] > latencies[-1]


@pytest.mark.parametrize("killed_at", [NUM, NUM + 1, NUM + 3])
def test_a_search_killed_among_them_ends_as_an_uninterrupted_one(
    whole: list[TrialRecord],
    open_search: Call,
    sampling_space: SearchSpace,
    run_trial: Call,
    tmp_path: Path,
    killed_at: int,
) -> None:
    def dies(order: TrialOrder, report: Report) -> TrialResult:
        if order.number == killed_at:
            raise Killed
        return run_trial(order, report)

    options = {"run_dir": tmp_path / "killed", "space": sampling_space, "trials": NUM + 5, "seeds": SEEDS}
    with pytest.raises(Killed):
        run_locally(open_search(**options), dies)
    resumed = open_search(**options)
    run_locally(resumed, run_trial)
    assert table(resumed.store.trials()) == table(whole)


def test_a_schedule_that_was_searched_is_not_tried_again(
    open_search: Call, sampling_space: SearchSpace, run_trial: Call
) -> None:
    drawn = {"sampler_steps": 7, "solver": "base", "cache.full": 1.0, "cache.first": 1, "gain.stream": 0.95}
    search = open_search(space=sampling_space, trials=NUM + 3, first=[{**SEEDS[1], **drawn}], seeds=SEEDS)
    run_locally(search, run_trial)
    searched = [record.candidate for record in search.store.trials() if record.baseline is None]
    assert [one.schedule.roles.count("pool") for one in searched] == [2, 1, 3]
    assert searched[0].sampling.steps == 7


def test_without_a_known_baseline_they_draw_at_random(open_search: Call, space: SearchSpace, run_trial: Call) -> None:
    seeds = [{"pooling.depth": 0, "sdtm.dense": 1, "dense.depth": depth, "timetable.clean_grid": 3} for depth in (3, 1)]
    search = open_search(space=space, baseline_steps=(7,), trials=4, seeds=seeds)
    run_locally(search, run_trial)
    searched = [record.candidate for record in search.store.trials() if record.baseline is None]
    assert [one.schedule.digest for one in searched[:2]] == [
        space.build({**seed, "sampler_steps": 2}).schedule.digest for seed in seeds
    ]
