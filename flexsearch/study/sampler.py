"""Ask one of Optuna's samplers for one proposal, given the trials so far.

It is asked in a study of its own, in memory, of which nothing is left but the proposal. What it is shown is bounded, so
that a proposal takes no longer the more trials there are: up to `MOST_KNOWN` complete and as many pruned ones, all are
shown. Of more, `tpe`, `gp` and `nsga2` are shown those that tell most (`known.py`), and the latest; the others learn
from none.
"""

import copy
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from flexsearch.space.domains import Choice, Domain, Float, Value
from flexsearch.study.evenly import evenly
from flexsearch.study.known import MOST_KNOWN, most_telling
from flexsearch.study.settings import SearchSettings

_LEAST_POPULATION = 4
_GENERATION = "NSGAIISampler:generation"  # the attribute of a trial that Optuna keeps it in


def distribution_of(domain: Domain) -> BaseDistribution:
    """Give a domain in Optuna's terms."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if isinstance(domain, Float):
        return FloatDistribution(domain.low, domain.high)
    return IntDistribution(domain.low, domain.values[-1], step=domain.step)


def ask(
    proposed: Sequence[FrozenTrial],
    *,
    space: Mapping[str, BaseDistribution],
    directions: Sequence[optuna.study.StudyDirection],
    settings: SearchSettings,
    seed: int,
    fixed: Mapping[str, Value] | None = None,
) -> FrozenTrial:
    """Ask for one trial.

    Args:
        proposed: the trials so far that lie in the space, by number.
        space: every parameter.
        directions: of the objectives.
        settings: which sampler.
        seed: of this proposal.
        fixed: every parameter, where the sampler is not to choose.
    """
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, directions=directions, sampler=_sampler(settings, seed=seed))
    own = storage.get_study_id_from_name(study.study_name)
    first = 0  # generation of NSGA-II that counts as the first
    if fixed is not None:
        study.enqueue_trial(dict(fixed))
    elif settings.algorithm == "qmc":
        _skip_points(study, storage, own, space=space, num=len(proposed))
    elif settings.algorithm != "random":
        shown = _shown(proposed, num_latest=2 * _population(settings))
        if settings.algorithm == "nsga2" and len(proposed) > MOST_KNOWN:
            first = max(0, max(map(_generation, shown)) - 2)
            shown = [_with_generation(trial, max(0, _generation(trial) - first)) for trial in shown]
        for trial in shown:
            storage.create_new_trial(own, template_trial=_Shown.of(trial))
    number = study.ask(dict(space)).number
    asked = study.get_trials(deepcopy=False)[number]
    return _with_generation(asked, _generation(asked) + first)


class _Shown(FrozenTrial):
    """A trial that has ended or runs elsewhere: nothing changes it here, so its copies share what it is made of."""

    @classmethod
    def of(cls, trial: FrozenTrial) -> "_Shown":
        shown = cls.__new__(cls)
        shown.__dict__.update(vars(trial))
        return shown

    def __deepcopy__(self, _: object) -> "_Shown":
        return self.of(self)


def _population(settings: SearchSettings) -> int:
    return max(_LEAST_POPULATION, settings.startup)


def _sampler(settings: SearchSettings, *, seed: int) -> BaseSampler:
    match settings.algorithm:
        case "tpe":
            return optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=True, n_startup_trials=settings.startup
            )
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=settings.startup)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=_population(settings))
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "qmc":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.QMCSampler(seed=settings.seed, scramble=True, warn_independent_sampling=False)


def _shown(proposed: Sequence[FrozenTrial], *, num_latest: int) -> list[FrozenTrial]:
    """Keep the trials that a sampler learns from, by number: all that run, and of those that have ended the most
    telling and the latest, which hold the generation of NSGA-II that is not complete."""
    complete = [trial for trial in proposed if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in proposed if trial.state == TrialState.PRUNED]
    telling = [complete[index] for index in most_telling(np.array([trial.values for trial in complete]))]
    running = [trial for trial in proposed if trial.state == TrialState.RUNNING]
    kept = (*telling, *complete[-num_latest:], *evenly(pruned, MOST_KNOWN), *pruned[-num_latest:], *running)
    return sorted({trial.number: trial for trial in kept}.values(), key=lambda trial: trial.number)


def _skip_points(
    study: optuna.Study,
    storage: optuna.storages.InMemoryStorage,
    own: int,
    *,
    space: Mapping[str, BaseDistribution],
    num: int,
) -> None:
    """Have a quasi-random sampler go on after `num` points: it reads the space from the first trial, and counts its
    points in an attribute of the study."""
    searched = {name: kind for name, kind in space.items() if not kind.single()}
    study.tell(study.ask(searched), [0.0] * len(study.directions))
    if num:
        study.ask(dict(space))
        for name in storage.get_study_system_attrs(own):
            if name.startswith("qmc:"):
                storage.set_study_system_attr(own, name, num - 1)


def _generation(trial: FrozenTrial) -> int:
    found: int = trial.system_attrs.get(_GENERATION, 0)
    return found


def _with_generation(trial: FrozenTrial, generation: int) -> FrozenTrial:
    """Say another generation of a trial that has one. NSGA-II takes the parents of each from those of the one before,
    back to the first: of a long search it is shown three, the first with all that is older."""
    if _GENERATION not in trial.system_attrs:
        return trial
    found = copy.copy(trial)
    found.system_attrs = {**trial.system_attrs, _GENERATION: generation}
    return found
