"""A sampler after many trials: what it is shown is bounded, and it goes on where it was."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from flexsearch.space import Choice, Float, Int
from flexsearch.study import sampler
from flexsearch.study.known import MOST_KNOWN, most_telling
from flexsearch.study.pareto import is_non_dominated
from flexsearch.study.settings import SearchSettings

SPACE: dict[str, BaseDistribution] = {
    name: sampler.distribution_of(domain)
    for name, domain in {
        "a": Int(low=1, high=50),
        "b": Choice(values=tuple(range(40))),
        "c": Float(low=0, high=1),
    }.items()
}
GENERATION = "NSGAIISampler:generation"
POPULATION = 4


def trials(num: int, *, states: Sequence[TrialState] = (TrialState.COMPLETE,)) -> list[FrozenTrial]:
    """Trials of which few are good, in generations of four; `states` take turns."""
    generator, found = np.random.default_rng(0), []
    for number in range(num):
        state = states[number % len(states)]
        one = create_trial(
            state=state,
            params={"a": int(generator.integers(1, 51)), "b": int(generator.integers(40)), "c": generator.random()},
            distributions=SPACE,
            values=generator.random(2).tolist() if state == TrialState.COMPLETE else None,
            system_attrs={GENERATION: number // POPULATION},
        )
        one.number = number
        found.append(one)
    return found


def asked(proposed: Sequence[FrozenTrial], algorithm: Any) -> FrozenTrial:
    settings = SearchSettings(algorithm=algorithm, startup=POPULATION)
    return sampler.ask(
        proposed, space=SPACE, directions=[StudyDirection.MINIMIZE] * 2, settings=settings, seed=len(proposed)
    )


def test_of_few_all_are_telling_and_of_many_the_best_and_some_of_the_rest() -> None:
    values = np.random.default_rng(0).random((1000, 2))
    assert most_telling(values[:MOST_KNOWN]) == list(range(MOST_KNOWN))
    chosen = most_telling(values)
    assert len(chosen) == MOST_KNOWN
    assert chosen == sorted(set(chosen))
    assert set(np.flatnonzero(is_non_dominated(values))) <= set(chosen)
    assert chosen[-1] > 900, "what came last is among them"


def test_a_sampler_is_shown_all_of_few_trials_and_a_bounded_number_of_many() -> None:
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    few, many = trials(300, states=states), trials(1500, states=states)
    assert sampler._shown(few, num_latest=8) == [one for one in few if one.state != TrialState.FAIL]
    many[40].state = TrialState.RUNNING
    shown = sampler._shown(many, num_latest=8)
    assert len(shown) <= 2 * (MOST_KNOWN + 8) + 1
    assert many[40] in shown
    complete = [one for one in many if one.state == TrialState.COMPLETE]
    assert complete[-8:] == [one for one in shown if one.state == TrialState.COMPLETE][-8:]


def test_nsga2_goes_on_with_its_generation_after_hundreds_of_them() -> None:
    """By itself it takes the parents of each from those of the one before, deeper than Python goes."""
    begun, whole = asked(trials(2398), "nsga2"), asked(trials(2400), "nsga2")
    assert [one.system_attrs[GENERATION] for one in (begun, whole)] == [599, 600]
    values = np.array([one.values for one in trials(2400)])
    best = [trials(2400)[index] for index in np.flatnonzero(is_non_dominated(values))]
    assert any(whole.params[name] in {one.params[name] for one in best} for name in SPACE)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("num", [0, 1, 33])
def test_qmc_proposes_what_one_study_would_that_was_asked_for_every_point(num: int) -> None:
    qmc = optuna.samplers.QMCSampler(seed=0, scramble=True)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=qmc)
    study.tell(study.ask(SPACE), [0.0, 0.0])
    assert asked(trials(num), "qmc").params == [study.ask(SPACE).params for _ in range(num + 1)][-1]
