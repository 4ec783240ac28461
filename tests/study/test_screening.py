"""Proposals that could add nothing are passed over, but never for ever."""

from collections.abc import Callable
from typing import Any

from optuna.trial import TrialState

from flexsearch.schedule.density import Candidate
from flexsearch.study.local import run_locally
from flexsearch.study.screening import LEAST_TRIALS, Screen
from flexsearch.trial.contract import Report, TrialOrder, TrialResult

Open = Callable[..., Any]
Run = Callable[..., TrialResult]
OBJECTIVES = ("fid_fashion_cnn", "latency_ms")


def latency_of(candidate: Candidate) -> float:
    """As in the formula that stands for trials."""
    roles = candidate.schedule.roles
    return candidate.sampler_steps * (1 + sum(role in ("dense", "recover") for role in roles))


def test_a_proposal_is_passed_over_only_if_the_bound_is_dominated(open_search: Open, run_trial: Run) -> None:
    search = open_search(trials=14, sampler="random")
    run_locally(search, run_trial)
    records = search.store.trials()
    dense = records[0].candidate
    trained = records[3].candidate

    def with_trained_at(ms: float | None) -> Screen:
        return Screen(
            num=5,
            predict_ms=lambda one: ms if one is trained or ms is None else latency_of(one),
            objectives=OBJECTIVES,
        )

    screen = with_trained_at(1000.0)
    assert not screen.could_add(trained, records), "slower than everything, at the quality of its steps at best"
    assert with_trained_at(0.001).could_add(trained, records)
    assert with_trained_at(None).could_add(trained, records)
    twice = Screen(num=5, predict_ms=lambda one: 2 * latency_of(one), objectives=OBJECTIVES)
    exact = Screen(num=5, predict_ms=latency_of, objectives=OBJECTIVES)
    for record in records:
        assert twice.could_add(record.candidate, records) == exact.could_add(record.candidate, records)
    assert screen.could_add(trained, [record for record in records if record.baseline is None]), "no dense base yet"
    few = [record for record in records if record.candidate.schedule.is_dense]
    few += [record for record in records if not record.candidate.schedule.is_dense][: LEAST_TRIALS - 1]
    assert screen.could_add(trained, few)
    assert dense.schedule.is_dense


def test_a_screened_search_spends_its_trials_elsewhere_and_ends(open_search: Open, run_trial: Run) -> None:
    run: set[str] = set()

    def everything_new_is_slow(candidate: Candidate) -> float:
        return latency_of(candidate) if candidate.digest in run else 1000.0

    def note(order: TrialOrder, report: Report) -> TrialResult:
        run.add(order.candidate.digest)
        return run_trial(order, report)

    search = open_search(
        trials=12,
        sampler="random",
        screen=Screen(num=3, predict_ms=everything_new_is_slow, objectives=OBJECTIVES),
    )
    assert run_locally(search, note) == "12 trials are finished"
    told = search.decisions.study.trials
    screened = [trial for trial in told if "screened" in trial.user_attrs]
    assert screened, "from the first trained schedules on"
    assert {trial.state for trial in screened} == {TrialState.FAIL}, "samplers do not learn from them"
    assert not {trial.number for trial in screened} & {record.number for record in search.store.trials()}


def test_what_is_predicted_well_loses_nothing(open_search: Open, run_trial: Run, tmp_path: Any) -> None:
    """With exact predictions every point of the screened search's front could be reached, and was."""
    ran: list[Candidate] = []

    def note(order: TrialOrder, report: Report) -> TrialResult:
        ran.append(order.candidate)
        return run_trial(order, report)

    search = open_search(
        trials=12, sampler="random", screen=Screen(num=4, predict_ms=latency_of, objectives=OBJECTIVES)
    )
    run_locally(search, note)
    assert len({candidate.digest for candidate in ran}) == len(ran) == 12


def test_a_driver_killed_while_it_puts_a_proposal_aside_does_not_run_it(open_search: Open, run_trial: Run) -> None:
    search = open_search(trials=6, sampler="random")
    run_locally(search, run_trial)
    order = open_search(trials=7, sampler="random").next()
    assert isinstance(order, TrialOrder)
    search.decisions.note(order.number, {"screened": "it could not reach the front"})  # and here the driver dies
    resumed = open_search(trials=7, sampler="random")
    run_locally(resumed, run_trial)
    assert resumed.decisions.study.trials[order.number].state == TrialState.FAIL
    complete = [record.number for record in resumed.store.trials() if record.state == "complete"]
    assert len(complete) == 7
    assert order.number not in complete
