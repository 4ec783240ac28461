"""What is asked again after a driver died while it asked, whatever it had stored by then."""

from typing import Any

import pytest

from flexsearch.space.domains import Choice, Domain, Float, Int
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.settings import SearchSettings

DOMAINS: dict[str, Domain] = {
    "a": Int(low=1, high=50),
    "one": Choice(values=(3,)),
    "b": Choice(values=tuple(range(40))),
    "c": Float(low=0.0, high=1.0),
    "d": Int(low=1, high=50),
}


def opened(sampler: Any) -> OptunaStudy:
    settings = SearchSettings(algorithm=sampler, seed=3, startup=3)
    return OptunaStudy(None, name="s", objectives=("fid", "latency"), domains=DOMAINS, settings=settings)


def told(optuna_study: OptunaStudy, num: int) -> None:
    for _ in range(num):
        proposal = optuna_study.ask()
        optuna_study.tell(proposal.number, [float(proposal.number), 1.0 / (1 + proposal.number)], {})


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
@pytest.mark.parametrize("before", [1, 6])
@pytest.mark.parametrize("num_stored", range(len(DOMAINS) + 1))
def test_what_was_stored_does_not_change_what_follows(
    dies_after_storing: Any, sampler: Any, before: int, num_stored: int
) -> None:
    whole, died = opened(sampler), opened(sampler)
    told(whole, before)
    told(died, before)
    expected = whole.ask().parameters
    with dies_after_storing(num_stored):
        died.ask()
    (trial,) = died.running()
    assert len(trial.parameters) == num_stored
    assert died.ask_again(trial.number).parameters == expected
