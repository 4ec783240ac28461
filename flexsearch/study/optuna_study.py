"""The Optuna study: it alone decides what is tried next, and it is the truth about what was decided.

The only file that imports optuna. Several objectives, ask and tell, SQL storage.
"""

import copy
import io
import json
import uuid
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from flexsearch.space.domains import Choice, Domain, Float, Value
from flexsearch.study.settings import SearchSettings
from flexsearch.study.storage import engine_options

optuna.logging.set_verbosity(optuna.logging.WARNING)

ARTIFACTS = "artifacts"
"""Folder of a run directory with the images that the dashboard shows."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A trial of the study: its number, its parameters (none for a baseline) and what was noted at once."""

    number: int
    parameters: Mapping[str, Value]
    notes: Mapping[str, Any]


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if isinstance(domain, Float):
        return FloatDistribution(domain.low, domain.high)
    return IntDistribution(domain.low, domain.values[-1], step=domain.step)


class _ProposedOnly(BaseSampler):
    """Shows a sampler the trials that samplers proposed, and the whole space.

    Baselines lie outside the space and have no parameters; left in view, they would make the space that all trials
    have in common empty.
    """

    def __init__(self, inner: BaseSampler, space: dict[str, BaseDistribution]) -> None:
        self._inner = inner
        self._space = space

    def _view(self, study: optuna.Study) -> Any:
        view: Any = copy.copy(study)

        def proposed(*args: Any, **kwargs: Any) -> list[FrozenTrial]:
            return [trial for trial in study._get_trials(*args, **kwargs) if not trial.user_attrs.get("baseline")]

        view._get_trials = proposed
        return view

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._inner.infer_relative_search_space(self._view(study), trial)  # some samplers prepare themselves here
        return {name: kind for name, kind in self._space.items() if not kind.single()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(self._view(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._inner.sample_independent(self._view(study), trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(self._view(study), trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._inner.after_trial(self._view(study), trial, state, values)


def _sampler(settings: SearchSettings, *, seed: int) -> BaseSampler:
    match settings.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=True, n_startup_trials=settings.startup
            )
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=settings.startup)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, settings.startup))
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
        case "qmc":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.QMCSampler(seed=settings.seed, scramble=True, warn_independent_sampling=False)


class OptunaStudy:
    """Ask and tell on one study.

    Every ask seeds the sampler from the study's seed and the trial's number, so that a resumed search proposes what an
    uninterrupted one would.

    Args:
        url: SQLAlchemy URL of the storage; None keeps the study in memory.
        name: of the study; created if it is not there.
        objectives: names as the dashboard shows them; all are minimised. Nothing is looked up by them.
        domains: parameters of the space.
        settings: sampler, seed.
    """

    def __init__(
        self,
        url: str | None,
        *,
        name: str,
        objectives: Sequence[str],
        domains: Mapping[str, Domain],
        settings: SearchSettings,
    ) -> None:
        storage: optuna.storages.BaseStorage = optuna.storages.InMemoryStorage()
        if url is not None:
            storage = optuna.storages.RDBStorage(url, engine_kwargs=dict(engine_options(url)))
        self.study = optuna.create_study(
            storage=storage, study_name=name, directions=["minimize"] * len(objectives), load_if_exists=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.set_metric_names(list(objectives))
        self._settings = settings
        self._space = {parameter: _distribution(domain) for parameter, domain in domains.items()}

    def ask(self, fixed: Mapping[str, Value] | None = None) -> Proposal:
        """A new trial: parameters from the sampler, or `fixed` ones."""
        self._seed_sampler(len(self.study.get_trials(deepcopy=False)))
        if fixed is not None:
            self.study.enqueue_trial(dict(fixed))
        trial = self.study.ask(self._space)
        return Proposal(number=trial.number, parameters=trial.params, notes={})

    def ask_again(self, number: int) -> Proposal:
        """What a driver that died while it asked would have got: stored parameters as they are, the others anew.

        What the sampler drew one by one for stored parameters is drawn again, so that the others get what follows it.
        QMC counts its points in the storage, and takes the others from its next point.
        """
        self._seed_sampler(number)
        trial, frozen = self.trial(number), self.study.get_trials(deepcopy=False)[number]
        stored, fixed = set(trial.params), frozen.system_attrs.get("fixed_params", {})
        for name, kind in self._space.items():
            if name in stored and name not in fixed and not kind.single() and name not in trial.relative_params:
                self.study.sampler.sample_independent(self.study, frozen, name, kind)
            if isinstance(kind, CategoricalDistribution):
                trial.suggest_categorical(name, kind.choices)
            elif isinstance(kind, IntDistribution):
                trial.suggest_int(name, kind.low, kind.high, step=kind.step)
            elif isinstance(kind, FloatDistribution):
                trial.suggest_float(name, kind.low, kind.high)
        return Proposal(number=number, parameters=trial.params, notes={})

    def _seed_sampler(self, number: int) -> None:
        inner = _sampler(self._settings, seed=(self._settings.seed * 1_000_003 + number) % 2**32)
        self.study.sampler = _ProposedOnly(inner, self._space)

    def add_baseline(self, name: str, notes: Mapping[str, Any]) -> Proposal:
        """A running trial without parameters, which no sampler looks at."""
        self.study.add_trial(
            optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={**notes, "baseline": name})
        )
        number = len(self.study.get_trials(deepcopy=False)) - 1
        return Proposal(number=number, parameters={}, notes={**notes, "baseline": name})

    def note(self, number: int, notes: Mapping[str, Any]) -> None:
        """Stores facts beside a running trial."""
        trial = self.trial(number)
        for key, value in notes.items():
            trial.set_user_attr(key, value)

    def tell(self, number: int, values: Sequence[float] | None, constraints: Mapping[str, float]) -> None:
        """Ends a trial: COMPLETE with `values`, PRUNED without. A trial that has ended already stays as it is."""
        if self._state(number).is_finished():
            return
        trial = self.trial(number)
        known = trial.storage.get_trial(trial._trial_id).constraints
        for name, value in constraints.items():
            if name not in known:
                trial.set_constraint(name, value)
        if values is None:
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            self.study.tell(number, list(values), state=TrialState.COMPLETE)

    def discard(self, number: int) -> None:
        """Ends a trial as failed: samplers do not learn from it."""
        if not self._state(number).is_finished():
            self.study.tell(number, state=TrialState.FAIL)

    def proposal(self, number: int) -> Proposal:
        """What is known of a trial."""
        trial = self.study.get_trials(deepcopy=False)[number]
        return Proposal(number=number, parameters=trial.params, notes=trial.user_attrs)

    @staticmethod
    def artifacts(folder: Path) -> FileSystemArtifactStore:
        """The store of images in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        return FileSystemArtifactStore(str(folder))

    def attach_image(self, number: int, image: Path, *, folder: Path) -> None:
        """Makes `image` an artifact of a running trial, stored in `folder`, where the dashboard shows it; once."""
        trial = self.study.get_trials(deepcopy=False)[number]
        if not trial.state.is_finished() and not self.has_image(number, image.name, folder=folder):
            upload_artifact(
                artifact_store=self.artifacts(folder),
                file_path=str(image),
                study_or_trial=trial,
                storage=self.study._storage,
            )

    def image_url(self, number: int, name: str, *, folder: Path) -> str | None:
        """Where the dashboard serves an image of a trial, for its notes; None if there is none called `name`."""
        trial = self.study.get_trials(deepcopy=False)[number]
        known = [
            meta.artifact_id
            for meta in get_all_artifact_meta(study_or_trial=trial, storage=self.study._storage)
            if meta.filename == name
        ]
        key, artifact = self._finished_key(trial, name)
        if json.loads(self._attributes.get(key, "null")) is not None:
            known.append(artifact)
        shown = next((one for one in known if (folder / one).exists()), None)
        return None if shown is None else f"/artifacts/{self.study._study_id}/{trial._trial_id}/{shown}"

    def has_image(self, number: int, name: str, *, folder: Path) -> bool:
        """Whether the dashboard shows an image called `name` with a trial, or its user has deleted it there."""
        key, _ = self._finished_key(self.study.get_trials(deepcopy=False)[number], name)
        was_deleted = self._attributes.get(key) == "null"
        return was_deleted or self.image_url(number, name, folder=folder) is not None

    @property
    def _attributes(self) -> dict[str, Any]:
        """What the dashboard keeps in the study."""
        return self.study._storage.get_study_system_attrs(self.study._study_id)

    def publish_image(self, number: int, name: str, content: bytes, *, folder: Path) -> None:
        """Shows a PNG with a trial that may have ended: a second time, in its place.

        Optuna lets nobody add to an ended trial. The dashboard also reads artifacts of trials from the study's
        attributes, where its own early versions kept them.
        """
        trial = self.study.get_trials(deepcopy=False)[number]
        key, artifact = self._finished_key(trial, name)
        self.artifacts(folder).write(artifact, io.BytesIO(content))
        meta = {"artifact_id": artifact, "filename": name, "mimetype": "image/png", "encoding": None}
        self.study._storage.set_study_system_attr(self.study._study_id, key, json.dumps(meta))

    def _finished_key(self, trial: FrozenTrial, name: str) -> tuple[str, str]:
        """The attribute and the artifact's id, which follow from study, trial and name."""
        artifact = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.study.study_name}/{trial.number}/{name}"))
        return f"dashboard:artifacts:{trial._trial_id}:{artifact}", artifact

    def running(self) -> list[Proposal]:
        """Trials that have not ended: after a crash, those of the driver that died."""
        trials = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [Proposal(number=trial.number, parameters=trial.params, notes=trial.user_attrs) for trial in trials]

    def _state(self, number: int) -> TrialState:
        return self.study.get_trials(deepcopy=False)[number].state

    def trial(self, number: int) -> optuna.Trial:
        """Optuna's own trial object."""
        return optuna.Trial(self.study, self.study.get_trials(deepcopy=False)[number]._trial_id)
