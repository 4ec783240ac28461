"""Who is tried next, and what becomes of it: baselines, duplicates, failures, limits, and every way to resume."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import Call, Killed
from optuna.trial import TrialState

from flexsearch.report.points import is_free
from flexsearch.space import SearchSpace, parse_space
from flexsearch.study.dense_quality import dense_baselines
from flexsearch.study.events import Ended, Noted, Started
from flexsearch.study.executor import Finished, Wait, run_locally
from flexsearch.study.search import FAILURES_IN_A_ROW, Search
from flexsearch.trial.contract import Report, TrialOrder, TrialResult
from flexsearch.trial.result_file import write_result


def table(search: Any) -> list[tuple[int, str, str, str | None]]:
    return [(record.number, record.digest, record.state, record.baseline) for record in search.store.trials()]


def test_baselines_come_first_and_no_schedule_is_evaluated_twice(open_search: Call, run_trial: Call) -> None:
    search = open_search(trials=30, algorithm="random")  # which proposes what it proposed
    assert run_locally(search, run_trial).reason == "30 trials are finished"
    records = search.store.trials()
    assert [record.baseline for record in records[:3]] == ["dense", "dense, 2 steps", "FlexDiT paper"]
    assert all(record.baseline is None for record in records[3:])
    assert [record.num_updates for record in records[:3]] == [0, 0, 2]
    assert search.store.curve(2) == ((1, 0.5), (2, 0.25))
    finished = [record.digest for record in records if record.state == "complete"]
    assert len(finished) == len(set(finished)) == 30


def test_the_dense_base_is_fine_tuned_as_schedules_are_where_that_is_asked_for(
    open_search: Call, run_trial: Call, sampling_space: SearchSpace, tmp_path: Path
) -> None:
    plain = open_search(trials=8, fine_tuned_dense=True)
    orders: list[TrialOrder] = []
    plain.watch(lambda event: orders.append(event.order) if isinstance(event, Started) else None)
    run_locally(plain, run_trial)
    found = {order.baseline: order for order in orders if order.baseline is not None}
    assert list(found) == ["dense", "dense, 2 steps", "fine-tuned dense", "fine-tuned dense, 2 steps", "FlexDiT paper"]
    assert [order.trains for order in found.values()] == [False, False, True, True, True]
    assert found["fine-tuned dense"].candidate == found["dense"].candidate
    records = {record.baseline: record for record in plain.store.trials()}
    assert is_free(records["dense"])
    assert not is_free(records["fine-tuned dense"])
    assert [one.baseline for one in dense_baselines(list(records.values()))] == ["dense", "dense, 2 steps"]

    sampled = open_search(
        run_dir=tmp_path / "sampled", trials=32, algorithm="random", space=sampling_space, fine_tuned_dense=True
    )
    run_locally(sampled, run_trial)
    names = [record.baseline for record in sampled.store.trials() if record.baseline is not None]
    tuned = [name.removeprefix("fine-tuned") for name in names if name.startswith("fine-tuned")]
    assert tuned == [
        "-10-ab2-gain0.9@4",
        "-7-ab2-gain0.9@4",
        "-5-ab2-gain0.9@4",
        "-4-ab2-gain0.9@4",
        "-3-ab2-gain0.9@4",
    ]
    assert all(f"dense{name}" in names for name in tuned), "each beside the same without the fine-tune"


@pytest.mark.parametrize("algorithm", ["tpe", "gp", "nsga2", "random", "qmc"])
def test_watchers_see_every_trial_and_costs_add_up(open_search: Call, run_trial: Call, algorithm: str) -> None:
    events: list[Any] = []
    search = open_search(trials=9, algorithm=algorithm)
    search.watch(events.append)
    run_locally(search, run_trial)
    assert search.num_finished == 9
    numbers = [record.number for record in search.store.trials() if record.state != "duplicate"]
    assert numbers == [event.order.number for event in events if isinstance(event, Started)]
    assert numbers == [event.number for event in events if isinstance(event, Ended)]
    assert {cost.what: cost.seconds for cost in search.store.costs()} == {
        "trials: fine-tune": 18.0,
        "trials: sample": 9.0,
    }


def test_a_space_that_is_used_up_ends_the_search(open_search: Call, run_trial: Call, space: SearchSpace) -> None:
    small = parse_space(
        {
            "segments": [{"family": "pooling", "depth": {"int": [1, 3]}}, {"family": "dense", "depth": "rest"}],
            "sampler_steps": 2,
        },
        target=space.target,
    )
    search = open_search(space=small, trials=50)
    assert run_locally(search, run_trial).reason == "every schedule of the space has been evaluated"
    complete = [row for row in table(search) if row[2] == "complete"]
    assert len(complete) == 3 + 2  # the space, and two baselines outside it


def test_the_same_seed_proposes_the_same_trials_and_another_does_not(
    open_search: Call, run_trial: Call, tmp_path: Any
) -> None:
    tables = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        search = open_search(run_dir=tmp_path / name, seed=seed)
        run_locally(search, run_trial)
        tables.append(table(search))
    assert tables[0] == tables[1]
    assert tables[0][3:] != tables[2][3:]


@pytest.fixture(scope="module")
def uninterrupted(make_search: Call, run_trial: Call, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The table of a whole search."""
    whole = make_search(tmp_path_factory.mktemp("whole"))
    run_locally(whole, run_trial)
    return table(whole)


@pytest.mark.parametrize("killed_at", [0, 2, 3, 5, 11])
@pytest.mark.parametrize("has_result", [False, True])
def test_a_killed_search_ends_as_an_uninterrupted_one(
    open_search: Call, run_trial: Call, uninterrupted: list[Any], tmp_path: Any, killed_at: int, has_result: bool
) -> None:
    def dies(order: TrialOrder, report: Report) -> TrialResult:
        if order.number == killed_at:
            if has_result:  # the worker had finished, the driver did not hear of it
                write_result(order, run_trial(order, report))
            raise Killed
        return run_trial(order, report)

    with pytest.raises(Killed):
        run_locally(open_search(run_dir=tmp_path / "killed"), dies)
    ran: list[int] = []

    def counts(order: TrialOrder, report: Report) -> TrialResult:
        ran.append(order.number)
        return run_trial(order, report)

    resumed = open_search(run_dir=tmp_path / "killed")
    run_locally(resumed, counts)
    assert table(resumed) == uninterrupted
    assert (killed_at in ran) is not has_result
    assert min(ran, default=99) >= killed_at
    attempts = {record.number: record.attempts for record in resumed.store.trials()}
    assert attempts[killed_at] == (1 if has_result else 2)


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_driver_killed_while_it_asks_gets_the_same_answer(
    open_search: Call, run_trial: Call, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    whole = open_search(run_dir=tmp_path / "whole", trials=9)
    run_locally(whole, run_trial)
    run_locally(open_search(run_dir=tmp_path / "killed", trials=7), run_trial)
    killed = open_search(run_dir=tmp_path / "killed", trials=9)
    study = killed.optuna_study.study
    add_trial = study.add_trial

    def dies(trial: Any) -> None:
        if is_stored:
            add_trial(trial)
        raise Killed

    monkeypatch.setattr(study, "add_trial", dies)
    with pytest.raises(Killed):
        run_locally(killed, run_trial)
    resumed = open_search(run_dir=tmp_path / "killed", trials=9)
    run_locally(resumed, run_trial)
    assert table(resumed) == table(whole)


def test_a_trial_that_an_earlier_version_left_half_asked_is_given_up(open_search: Call, run_trial: Call) -> None:
    run_locally(open_search(trials=5), run_trial)
    open_search().optuna_study.study.ask()
    resumed = open_search(trials=8)
    run_locally(resumed, run_trial)
    assert resumed.num_finished == 8
    assert resumed.optuna_study.study.trials[5].state == TrialState.FAIL


def test_a_trial_that_kills_its_worker_is_given_up(open_search: Call, run_trial: Call) -> None:
    search = open_search(max_retries=2)
    while not isinstance(order := search.next(), Finished):
        assert isinstance(order, TrialOrder)
        if order.number == 5:
            search.interrupted(5)
        else:
            search.finished(order.number, run_trial(order))
    record = search.store.trials()[5]
    assert (record.state, record.attempts) == ("failed", 3)
    assert record.reason == "was interrupted 3 times"
    assert search.num_finished == 12


def test_an_error_fails_its_trial_alone(open_search: Call, run_trial: Call, tmp_path: Any) -> None:
    def breaks(order: TrialOrder, report: Report) -> TrialResult:
        if order.number == 6:
            raise ZeroDivisionError("one over zero")
        return run_trial(order, report)

    search = open_search()
    run_locally(search, breaks)
    record = search.store.trials()[6]
    assert record.state == "failed"
    assert "ZeroDivisionError: one over zero" in (record.reason or "")
    assert "Traceback" in (tmp_path / "trials" / "6" / "error.log").read_text()
    assert search.optuna_study.study.trials[6].state == TrialState.FAIL
    assert search.num_finished == 12


def test_errors_in_a_row_stop_the_search(open_search: Call) -> None:
    def breaks(order: TrialOrder, report: Report) -> TrialResult:
        raise RuntimeError("no disk")

    search = open_search()
    end = run_locally(search, breaks)
    assert end.is_failure
    reason = end.reason
    assert reason == f"{FAILURES_IN_A_ROW} trials in a row failed, the last with: {reason.split('with: ')[1]}"
    assert "no disk" in reason


def infeasible(order: TrialOrder, run_trial: Call) -> TrialResult:
    result = run_trial(order)
    measurements = {name: found for name, found in result.measurements.items() if name != "fid_fashion_cnn"}
    return replace(
        result,
        state="infeasible",
        measurements=measurements,
        constraints={"latency_limit_ms": 3.0, "slower_than_dense": -0.5},
        reason="too slow",
    )


def test_infeasible_trials_are_told_pruned_with_their_constraints(open_search: Call, run_trial: Call) -> None:
    def gate(order: TrialOrder, report: Report) -> TrialResult:
        return infeasible(order, run_trial) if order.number in (4, 6) else run_trial(order)

    search = open_search()
    run_locally(search, gate)
    told = search.optuna_study.study.trials[4]
    assert (told.state, told.values) == (TrialState.PRUNED, None)
    assert told.constraints == {"latency_limit_ms": 3.0, "slower_than_dense": -0.5}
    record = search.store.trials()[4]
    assert (record.state, record.reason) == ("infeasible", "too slow")
    assert search.num_finished == 12
    assert len(search.store.trials()) >= 14


def test_an_infeasible_budget_is_reported_with_the_least_latency(
    open_search: Call, run_trial: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flexsearch.study.search.INFEASIBLE_IN_A_ROW", 7)

    def gate(order: TrialOrder, report: Report) -> TrialResult:
        return run_trial(order) if order.baseline else infeasible(order, run_trial)

    reason = run_locally(open_search(trials=100), gate).reason
    assert reason.startswith("7 schedules in a row broke a limit; the fastest took")


def test_several_at_once(open_search: Call, run_trial: Call) -> None:
    """Four workers, results in another order than orders."""
    search: Search = open_search(trials=11)
    live: list[TrialOrder] = []
    while True:
        order = search.next() if len(live) < 4 else Wait()
        if isinstance(order, Finished):
            break
        if isinstance(order, Wait):
            done = live.pop(len(live) // 2)
            search.finished(done.number, run_trial(done))
            continue
        live.append(order)
    assert not live
    assert search.num_finished == 11


@pytest.mark.parametrize("number", [0, 4])
def test_a_driver_killed_between_record_and_tell_counts_the_trial_once(
    open_search: Call, run_trial: Call, number: int
) -> None:
    search = open_search()
    while (order := search.next()).number < number:
        search.finished(order.number, run_trial(order))
    write_result(order, run_trial(order))
    search.store.record(number, run_trial(order))  # and dies
    resumed = open_search()
    run_locally(resumed, run_trial)
    assert sum(record.state == "complete" for record in resumed.store.trials()) == 12
    assert {cost.what: cost.seconds for cost in resumed.store.costs()} == {
        "trials: fine-tune": 24.0,
        "trials: sample": 12.0,
    }


def test_a_baseline_whose_driver_died_before_its_record_is_run_once(
    open_search: Call, run_trial: Call, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_search(run_dir=tmp_path / "whole", trials=7)
    run_locally(whole, run_trial)
    killed = open_search(run_dir=tmp_path / "killed", trials=7)

    def dies(*_: Any, **__: Any) -> None:
        raise Killed

    monkeypatch.setattr(killed.store, "start", dies)
    with pytest.raises(Killed):
        run_locally(killed, run_trial)
    resumed = open_search(run_dir=tmp_path / "killed", trials=7)
    run_locally(resumed, run_trial)
    assert table(resumed) == table(whole)


def test_nothing_new_is_tried_when_the_time_is_up(
    open_search: Call, run_trial: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial takes 3 s, and so does each of the six repetitions that follow."""
    now = [0.0]
    monkeypatch.setattr("flexsearch.study.search.time.monotonic", lambda: now[0])

    def slow(order: TrialOrder, report: Report) -> TrialResult:
        now[0] += 3.0
        return run_trial(order, report)

    search = open_search(trials=30, algorithm="random", deadline=60.0)
    ended = run_locally(search, slow)
    assert ended == Finished("the time is up after 14 of 30 trials; the same command goes on where this one stopped")
    assert now[0] + 6 * 3.0 <= 60.0
    again = open_search(trials=30, algorithm="random")
    assert run_locally(again, slow).reason == "30 trials are finished"


@pytest.mark.parametrize("is_quiet", [True, False])
def test_after_the_baselines_a_machine_that_was_not_quiet_is_told_once(
    open_search: Call, run_trial: Call, *, is_quiet: bool
) -> None:
    """Three of the dense base's latencies are linear in its steps, or one of them takes half as long again."""
    search = open_search(trials=8, baseline_steps=(4, 3, 2))
    notes: list[Noted] = []
    search.watch(lambda event: notes.append(event) if isinstance(event, Noted) else None)

    def timed(order: TrialOrder, report: Report) -> TrialResult:
        result, steps = run_trial(order, report), order.candidate.sampling.steps
        ms = steps * (1.5 if steps == 3 and not is_quiet else 1.0)
        latency = replace(result.measurements["latency_ms"], value=ms)
        return replace(result, measurements={**result.measurements, "latency_ms": latency})

    run_locally(search, timed)
    assert len(notes) == (0 if is_quiet else 1)
    assert is_quiet or "latencies disagree by" in notes[0].text


def test_what_is_to_be_tried_first_is_tried_once(open_search: Call, run_trial: Call, space: SearchSpace) -> None:
    choices = space.choices()
    first = [next(choices), next(choices)]
    digests = [space.build(parameters).digest for parameters in first]
    search = open_search(trials=4, first=first)
    run_locally(search, run_trial)
    assert [record.digest for record in search.store.trials() if record.baseline is None][:1] == digests[:1]
    again = open_search(trials=8, first=first)
    run_locally(again, run_trial)
    searched = [record.digest for record in again.store.trials() if record.baseline is None]
    assert searched[:2] == digests
    assert len(set(searched)) == len(searched)
