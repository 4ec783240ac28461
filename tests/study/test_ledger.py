"""Rows that no driver of today leaves: of earlier versions, of other programs, and of studies that were lost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from builders import Call, Killed
from optuna.trial import TrialState, create_trial

from flexsearch.errors import UserError
from flexsearch.study.executor import run_locally
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.trial.contract import Report, TrialOrder, TrialResult
from flexsearch.trial.result_file import write_result


def table(search: Any) -> list[tuple[int, str, str, str | None]]:
    return [(record.number, record.digest, record.state, record.baseline) for record in search.store.trials()]


def test_what_waits_is_failed(open_search: Call, run_trial: Call) -> None:
    search = open_search(trials=6)
    run_locally(search, run_trial)
    search.optuna_study.study.enqueue_trial({"anything": 1})
    resumed = open_search(trials=9)
    run_locally(resumed, run_trial)
    states = [trial.state for trial in resumed.optuna_study.study.trials]
    assert states[6] == TrialState.FAIL
    assert states.count(TrialState.COMPLETE) == 9
    assert not {TrialState.WAITING, TrialState.RUNNING} & set(states)


def test_a_duplicate_that_an_earlier_version_noted_as_running_is_put_away(open_search: Call, run_trial: Call) -> None:
    search = open_search(trials=6)
    run_locally(search, run_trial)
    first = search.store.trials()[4]
    same = search.optuna_study.study.trials[4]
    search.optuna_study.study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params=same.params,
            distributions=same.distributions,
            user_attrs=same.user_attrs,
        )
    )
    search.store.start(6, first.candidate, baseline=None)
    resumed = open_search(trials=7)
    run_locally(resumed, run_trial)
    assert [record.state for record in resumed.store.trials()][:7] == ["complete"] * 6 + ["duplicate"]
    assert resumed.optuna_study.study.trials[6].state == TrialState.FAIL
    assert resumed.num_finished == 7


def test_a_trial_that_another_program_ended_runs_no_more(open_search: Call, run_trial: Call) -> None:
    search = open_search(trials=5)
    order = search.next()
    search.optuna_study.discard(order.number)
    resumed = open_search(trials=5)
    record = resumed.store.trials()[0]
    assert (record.state, record.reason) == ("failed", "was ended in Optuna's study by another program")
    run_locally(resumed, run_trial)
    again = [record for record in resumed.store.trials() if record.baseline == "dense"]
    assert [record.state for record in again] == ["failed", "complete"]


@pytest.mark.parametrize("is_new_study", [False, True])
def test_evidence_without_its_study_is_an_error_and_stays(
    open_search: Call, run_trial: Call, is_new_study: bool, tmp_path: Path, space: Any
) -> None:
    search = open_search(trials=5)
    run_locally(search, run_trial)
    before = table(search)
    optuna.delete_study(study_name="test", storage=search.optuna_study.storage)
    if is_new_study:  # as an earlier version did
        with pytest.raises(UserError, match=r"holds the results of trial 0 \(\w+\) of study 'test'"):
            open_search(trials=9)
    else:
        with pytest.raises(UserError, match="not the study that decided them"):
            OptunaStudy(
                search.optuna_study.storage,
                name="test",
                objectives=("a", "b"),
                domains={},
                settings=search._settings,
                must_exist=True,
            )
        assert optuna.get_all_study_names(search.optuna_study.storage) == []
    assert table(search) == before


def test_a_result_of_another_study_in_the_same_folder_is_not_taken(
    open_search: Call, run_trial: Call, tmp_path: Path
) -> None:
    def leaves_and_dies(order: TrialOrder, report: Report) -> TrialResult:
        if order.number == 5:
            write_result(order, run_trial(order))
            raise Killed
        return run_trial(order)

    with pytest.raises(Killed):
        run_locally(open_search(trials=7), leaves_and_dies)
    (tmp_path / "study.db").unlink()

    def dies(order: TrialOrder, report: Report) -> TrialResult:
        if order.number == 5:
            raise Killed
        return run_trial(order)

    ran: list[int] = []

    def counts(order: TrialOrder, report: Report) -> TrialResult:
        ran.append(order.number)
        return run_trial(order)

    with pytest.raises(Killed):
        run_locally(open_search(trials=7, seed=1), dies)
    resumed = open_search(trials=7, seed=1)
    run_locally(resumed, counts)
    assert ran == [5, 6]
    assert resumed.store.trials()[5].attempts == 2


def test_a_driver_that_dies_is_no_fault_of_its_trial(open_search: Call, run_trial: Call) -> None:
    def dies(order: TrialOrder, report: Report) -> TrialResult:
        raise Killed

    for _ in range(5):
        with pytest.raises(Killed):
            run_locally(open_search(trials=4, max_retries=2), dies)
    search = open_search(trials=4)
    run_locally(search, run_trial)
    assert [record.state for record in search.store.trials()] == ["complete"] * 4
    assert search.store.trials()[0].attempts == 6


def test_a_full_disk_is_no_fault_of_its_trial(open_search: Call, run_trial: Call) -> None:
    def full(order: TrialOrder, report: Report) -> TrialResult:
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(UserError, match=r"No space left on device.*the same command goes on"):
        run_locally(open_search(trials=4), full)
    search = open_search(trials=4)
    run_locally(search, run_trial)
    assert [record.state for record in search.store.trials()] == ["complete"] * 4


def test_baselines_that_failed_run_again_with_the_next_command(open_search: Call, run_trial: Call) -> None:
    def breaks(order: TrialOrder, report: Report) -> TrialResult:
        if order.baseline == "dense":
            raise ZeroDivisionError("one over zero")
        return run_trial(order)

    first = open_search(trials=5)
    assert not run_locally(first, breaks).is_failure
    resumed = open_search(trials=5)
    assert resumed.has_unfinished
    run_locally(resumed, run_trial)
    dense = [record.state for record in resumed.store.trials() if record.baseline == "dense"]
    assert dense == ["failed", "complete"]
    assert not open_search(trials=5).has_unfinished


def test_numbers_that_are_not_finite_fail_their_trial(open_search: Call, run_trial: Call) -> None:
    def diverges(order: TrialOrder, report: Report) -> TrialResult:
        result = run_trial(order)
        found = result.measurements["fid_fashion_cnn"]
        if order.number == 3:
            return replace(result, curve=((1, 0.5), (2, float("nan"))))
        if order.number == 5:
            return replace(result, measurements={"fid_fashion_cnn": replace(found, value=float("inf"))})
        return result

    search = open_search(trials=8)
    run_locally(search, diverges)
    records = search.store.trials()
    assert [(one.number, one.reason) for one in records if one.state == "failed"] == [
        (3, "the loss after update 2 is not finite"),
        (5, "fid_fashion_cnn is not finite"),
    ]
    assert search.store.curve(3) == ((1, 0.5),)
    assert search.optuna_study.study.trials[3].state == TrialState.FAIL
    assert search.num_finished == 8
