"""Who goes on at a rung: properties of the ranking, and of a search that stops trials on their way."""

from typing import Any

import numpy as np
import pytest
from builders import Call, Killed
from optuna.trial import TrialState

from flexsearch.errors import UserError
from flexsearch.report.front import front_of
from flexsearch.study.early_stopping import epsilon_net, goes_on
from flexsearch.study.executor import run_locally
from flexsearch.trial.contract import Progress, Report, TrialOrder, TrialResult
from flexsearch.trial.early_stopping import EarlyStopping

OBJECTIVES = ("fid_fashion_cnn", "latency_ms")


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


def test_a_ranking_never_puts_a_dominated_point_before_its_dominator() -> None:
    points = np.random.default_rng(0).random((60, 2))
    before: set[int] = set()
    for num in range(1, 61):
        on = {own for own in range(60) if goes_on(points, own, keep=num / 60)}
        assert len(on) >= num
        assert before <= on
        assert all(other in on for one in on for other in range(60) if dominates(points[other], points[one]))
        before = on
    front = np.array([(value, 1 - value) for value in (0.5, 0.1, 0.45, 1.0, 0.0, 0.55)])
    assert set(epsilon_net(front)[:2]) == {3, 4}, "the ends of a front first"
    assert epsilon_net(front)[2] == 0  # the middle: farthest from both ends
    assert sorted(epsilon_net(np.zeros((4, 2)))) == [0, 1, 2, 3]


def test_what_nothing_dominates_goes_on_and_the_worst_of_many_does_not() -> None:
    front = [(number, 10.0 - number) for number in range(6)]
    assert all(goes_on(np.array(front), own, keep=0.5) for own in range(6))
    assert not goes_on(np.array([*front, (20.0, 20.0)]), 6, keep=0.5)
    behind = np.array([*front, (20.0, 20.0), (2.5, 8.5)])
    assert not goes_on(behind, 7, keep=0.75)
    assert goes_on(behind, 7, keep=0.8), "dominated by one, but among the best seven of eight"
    assert goes_on(np.array([(20.0, 20.0)]), 0, keep=0.1), "alone at its rung"
    assert goes_on(behind, 6, keep=1.0), "keep 1 stops nobody"


@pytest.mark.parametrize("rungs", [(), (0.5, 0.25), (0.25, 0.25)])
def test_rungs_rise(rungs: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match="rungs: must be one or more rising shares"):
        EarlyStopping(rungs=rungs)
    assert EarlyStopping(rungs=(0.0, 0.25)).updates(60) == (0, 15)
    assert EarlyStopping(rungs=(0.0, 0.25)).updates(2) == (0,)


def test_stopped_trials_were_behind_are_pruned_and_never_on_a_front(open_search: Call, staged: Call) -> None:
    search = open_search(trials=16, keep=0.34, algorithm="random")
    assert run_locally(search, staged).reason == "16 trials are finished"
    records = search.store.trials()
    pruned = [record for record in records if record.state == "pruned"]
    assert 2 <= len(pruned) <= 12
    for record in pruned:
        assert record.baseline is None
        assert OBJECTIVES[0] not in record.measurements
        assert OBJECTIVES[1] in record.measurements
        told = search.optuna_study.study.trials[record.number]
        assert (told.state, told.values) == (TrialState.PRUNED, None)
        assert told.constraints == {"latency_limit_ms": -1.0, "slower_than_dense": 0.0}
        rung, latency = record.rungs[-1], record.measurements[OBJECTIVES[1]].value
        assert any(
            dominates(np.array([reached.quality, other.measurements[OBJECTIVES[1]].value]), [rung.quality, latency])
            for other in records[: record.number]
            if (reached := other.rung(rung.updates)) is not None
        )
    complete = [record for record in records if record.state == "complete" and record.baseline is None]
    assert all([rung.updates for rung in record.rungs] == [0, 10] for record in complete)
    front = front_of(search.store, OBJECTIVES)
    assert not {record.number for record in pruned} & {
        record.number for record in (*front.points, *front.others, *front.baselines)
    }
    assert front.counts["pruned"] == len(pruned)


@pytest.mark.parametrize("killed_at", [3, 9])
def test_rungs_are_rebuilt_on_resume(open_search: Call, staged: Call, tmp_path: Any, killed_at: int) -> None:
    def table(search: Any) -> list[tuple[Any, ...]]:
        return [(record.number, record.digest, record.state, record.rungs) for record in search.store.trials()]

    whole = open_search(run_dir=tmp_path / "whole", trials=14, keep=0.34, algorithm="random")
    run_locally(whole, staged)

    def dies(order: TrialOrder, report: Report) -> TrialResult:
        def until_the_last_rung(progress: Progress) -> bool:
            if order.number == killed_at and progress.so_far is not None and len(progress.so_far.rungs) == 2:
                raise Killed
            return report(progress)

        return staged(order, until_the_last_rung)

    numbers: list[int] = []
    try:
        run_locally(open_search(run_dir=tmp_path / "killed", trials=14, keep=0.34, algorithm="random"), dies)
    except Killed:
        numbers.append(killed_at)
    resumed = open_search(run_dir=tmp_path / "killed", trials=14, keep=0.34, algorithm="random")
    run_locally(resumed, staged)
    assert table(resumed) == table(whole)
    assert numbers == [killed_at] or len(whole.store.trials()[killed_at].rungs) < 2


def test_baselines_are_compared_but_never_stopped(open_search: Call, staged: Call) -> None:
    search = open_search(trials=8, keep=0.05, algorithm="random")
    run_locally(search, staged)
    baselines = [record for record in search.store.trials() if record.baseline is not None]
    assert [record.state for record in baselines] == ["complete"] * len(baselines)
    assert [record.baseline for record in baselines if record.rungs] == ["FlexDiT paper"]
