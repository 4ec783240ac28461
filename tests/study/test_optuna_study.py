"""Proposals: a function of seed, number and trials so far, whatever the sampler, and stored whole or not at all."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from builders import Killed

from flexsearch.space import Choice, Domain, Float, Int
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.settings import SearchSettings

DOMAINS: dict[str, Domain] = {
    "a": Int(low=1, high=50),
    "one": Choice(values=(3,)),
    "b": Choice(values=tuple(range(40))),
    "c": Float(low=0.0, high=1.0),
    "d": Int(low=1, high=50),
}


def opened(algorithm: Any, *, url: str | None = None) -> OptunaStudy:
    settings = SearchSettings(algorithm=algorithm, seed=3, startup=3)
    return OptunaStudy(url, name="s", objectives=("fid", "latency"), domains=DOMAINS, settings=settings)


def told(optuna_study: OptunaStudy, num: int) -> None:
    for _ in range(num):
        proposal = optuna_study.ask()
        optuna_study.tell(proposal.number, [float(proposal.number), 1.0 / (1 + proposal.number)])


ALGORITHMS = ["tpe", "gp", "nsga2", "random", "qmc"]


def drawn(optuna_study: OptunaStudy) -> list[dict[str, Any]]:
    return [trial.params for trial in optuna_study.study.trials]


@pytest.mark.parametrize("algorithm", [one for one in ALGORITHMS if one != "gp"])  # it takes a second a proposal
def test_a_study_that_is_opened_again_proposes_the_same(algorithm: Any, tmp_path: Path) -> None:
    whole = opened(algorithm)
    told(whole, 8)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for _ in range(4):
        told(opened(algorithm, url=url), 2)
    assert drawn(opened(algorithm, url=url)) == drawn(whole)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_driver_that_died_while_it_asked_left_nothing(
    algorithm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    died = opened(algorithm, url=url)
    told(died, 6)

    def kill(_: Any) -> None:
        raise Killed

    monkeypatch.setattr(died.study, "add_trial", kill)
    with pytest.raises(Killed):
        died.ask()
    resumed, whole = opened(algorithm, url=url), opened(algorithm)
    assert not resumed.running()
    told(whole, 6)
    assert resumed.ask().parameters == whole.ask().parameters


def test_trials_that_have_ended_share_their_distributions(tmp_path: Path) -> None:
    """A database gives every trial its own."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    first = opened("random", url=url)
    told(first, 3)
    again = opened("random", url=url)
    assert again.parameters() == first.parameters()
    assert [list(one) for one in again.parameters()] == [list(one) for one in first.parameters()]
    ended = again.study.get_trials(deepcopy=False)
    assert len({id(trial.distributions) for trial in ended}) == 1
    assert [trial.distributions for trial in ended] == [trial.distributions for trial in first.study.trials]


def test_baselines_change_no_proposal_but_by_their_number() -> None:
    """They lie outside the space; a sampler that saw them would find no parameter in common."""
    optuna_study = opened("tpe")
    optuna_study.add_baseline("dense", {})
    optuna_study.tell(0, [1.0, 1.0])
    for number in range(1, 9):
        assert set(optuna_study.ask().parameters) == set(DOMAINS)
        optuna_study.tell(number, [float(number), 1.0 / number])
    near, far = opened("tpe"), opened("tpe")
    for one, value in ((near, 1.0), (far, 99.0)):
        one.add_baseline("dense", {})
        one.tell(0, [value, value])
        told(one, 8)
    assert drawn(near) == drawn(far)


def test_points_of_qmc_are_counted_past_fixed_ones_and_are_even() -> None:
    optuna_study = opened("qmc")
    for index in range(32):
        optuna_study.ask(fixed={"a": 1, "one": 3, "b": 0, "c": 0.5, "d": 1} if index == 5 else None)
    values = [trial.params["c"] for number, trial in enumerate(optuna_study.study.trials) if number != 5]
    eighths = Counter(int(8 * value) for value in values)
    assert min(eighths.values()) >= 3, "32 points of a Sobol sequence have four in each eighth; one was fixed"
    assert len(set(values)) == 31


def test_nsga2_has_generations() -> None:
    """They are kept with the trials: one that lost them would propose at random for ever."""
    optuna_study = opened("nsga2")
    told(optuna_study, 40)
    early, late = drawn(optuna_study)[:8], drawn(optuna_study)[-8:]
    known = [{params[name] for params in drawn(optuna_study)[:-8]} for name in ("a", "b", "d")]
    inherited = [params[name] in values for params in late for name, values in zip(("a", "b", "d"), known, strict=True)]
    assert sum(inherited) > len(inherited) / 2
    assert early != late


def test_fixed_parameters_notes_and_constraints_are_stored() -> None:
    optuna_study = opened("tpe")
    fixed = {"a": 2, "one": 3, "b": 4, "c": 0.5, "d": 6}
    proposal = optuna_study.ask(lambda parameters: {"sum": parameters["a"] + parameters["d"]}, fixed=fixed)
    assert (proposal.parameters, proposal.notes) == (fixed, {"sum": 8})
    assert [(one.number, one.parameters, one.notes) for one in optuna_study.running()] == [(0, fixed, {"sum": 8})]
    for _ in range(2):
        optuna_study.constrain(0, {"limit": 1.0})
    for _ in range(2):
        optuna_study.tell(0, None)
    assert optuna_study.study.trials[0].constraints == {"limit": 1.0}
    assert not optuna_study.running()
