"""The Optuna study: proposes trials and keeps them, in memory or in a SQL database. Several objectives, ask and tell.

This file and `sampler.py` alone import optuna, through its public API.
"""

import io
import sys
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from flexsearch.errors import UserError
from flexsearch.seeds import item_seed
from flexsearch.space.domains import Domain, Value
from flexsearch.study import sampler
from flexsearch.study.sampler import distribution_of
from flexsearch.study.settings import SearchSettings
from flexsearch.study.storage import engine_options, reconnect_patiently

optuna.logging.set_verbosity(optuna.logging.WARNING)

ARTIFACTS = "artifacts"
"""Folder of a run directory with the images that the dashboard shows."""
_IDENTITY = "identity"  # user attribute of the study: no other study has it, of the same name or not
_PICTURES = "pictures"  # user attribute of the study: artifact ids by name


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A trial of the study: its number, its parameters (none for a baseline) and its user attributes."""

    number: int
    parameters: Mapping[str, Value]
    notes: Mapping[str, Any]


class OptunaStudy:
    """Ask for trials and tell their results.

    Every proposal is a function of the study's seed, the trial's number and the trials so far, and a trial is stored in
    one transaction: a search that resumes proposes what an uninterrupted one would.

    Args:
        storage: SQLAlchemy URL, or a storage of Optuna's; None keeps the study in memory.
        name: of the study; created if it is not there, unless it must be.
        objectives: names as the dashboard shows them; all are minimised. Nothing is looked up by them.
        domains: parameters of the space.
        settings: sampler, seed.
        must_exist: there is evidence of it.

    Raises:
        UserError: the study must exist and does not; no study has been created then.
    """

    def __init__(
        self,
        storage: str | optuna.storages.BaseStorage | None,
        *,
        name: str,
        objectives: Sequence[str],
        domains: Mapping[str, Domain],
        settings: SearchSettings,
        must_exist: bool = False,
    ) -> None:
        self.storage = _open(storage) if isinstance(storage, str) else storage or optuna.storages.InMemoryStorage()
        if must_exist and name not in optuna.get_all_study_names(self.storage):
            raise UserError(
                f"holds results of study {name!r}, but not the study that decided them; restore the database, or use "
                "another name and --run-dir",
                field="--storage",
            )
        self._directions = [optuna.study.StudyDirection.MINIMIZE] * len(objectives)
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=name,
            directions=self._directions,
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),  # never asked
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self.study.metric_names != list(objectives):
                self.study.set_metric_names(list(objectives))
        if _IDENTITY not in self.study.user_attrs:
            self.study.set_user_attr(_IDENTITY, uuid.uuid4().hex)
        self.identity: str = self.study.user_attrs[_IDENTITY]
        self._settings = settings
        self._space: dict[str, BaseDistribution] = {name: distribution_of(domain) for name, domain in domains.items()}
        self._sharing: set[int] = set()  # numbers of trials that have ended

    @property
    def engine(self) -> Any:
        """The engine that writes the study; None in memory."""
        return getattr(self.storage, "engine", None)

    def ask(
        self,
        notes: Callable[[Mapping[str, Value]], Mapping[str, Any]] = lambda _: {},
        *,
        fixed: Mapping[str, Value] | None = None,
    ) -> Proposal:
        """Add a running trial: parameters from the sampler, or `fixed` ones, and the `notes` of them."""
        asked = self._asked(fixed)
        trial = create_trial(
            state=TrialState.RUNNING,
            params=asked.params,
            distributions=asked.distributions,
            user_attrs=dict(notes(asked.params)),
            system_attrs=asked.system_attrs,  # the generation of NSGA-II
        )
        return self._add(trial)

    def _asked(self, fixed: Mapping[str, Value] | None) -> FrozenTrial:
        """Ask the sampler, which does not see the baselines: they lie outside the space. It need not be asked for fixed
        parameters, but where a trial has more than these: with NSGA-II, a generation."""
        if fixed is not None and self._settings.algorithm != "nsga2":
            return create_trial(state=TrialState.RUNNING, params=dict(fixed), distributions=self._space)
        trials = self._trials()
        proposed = [
            trial for trial in trials if "baseline" not in trial.user_attrs and trial.datetime_start is not None
        ]
        seed = item_seed(self._settings.seed, len(trials)) % 2**32
        return sampler.ask(
            proposed,
            space=self._space,
            directions=self._directions,
            settings=self._settings,
            seed=seed,
            fixed=fixed,
        )

    def add_baseline(self, name: str, notes: Mapping[str, Any]) -> Proposal:
        """Add a running trial without parameters, which samplers do not see."""
        return self._add(create_trial(state=TrialState.RUNNING, user_attrs={**notes, "baseline": name}))

    def _add(self, trial: FrozenTrial) -> Proposal:
        self.study.add_trial(trial)
        number = len(self._trials()) - 1
        return Proposal(number=number, parameters=trial.params, notes=trial.user_attrs)

    def constrain(self, number: int, constraints: Mapping[str, float]) -> None:
        """Give a running trial its constraints, those that it has not got yet."""
        if not constraints:
            return
        known, trial = self._frozen(number), self.trial(number)
        for name, value in constraints.items():
            if name not in known.constraints:
                trial.set_constraint(name, value)

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """End a trial: COMPLETE with `values`, PRUNED without. A trial that has ended already stays as it is."""
        if self._frozen(number).state.is_finished():
            return
        if values is None:
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            self.study.tell(number, list(values), state=TrialState.COMPLETE)

    def discard(self, number: int) -> None:
        """End a trial as failed: samplers do not learn from it."""
        if not self._frozen(number).state.is_finished():
            self.study.tell(number, state=TrialState.FAIL)

    def fail_waiting(self) -> None:
        """End trials that wait as failed: an earlier version or another program has enqueued them."""
        for trial in self._trials(TrialState.WAITING):
            self.storage.set_trial_state_values(self._trial_id(trial.number), TrialState.FAIL)

    def notes(self, name: str) -> dict[int, Any]:
        """Read one user attribute of every trial, None where it has none."""
        return {trial.number: trial.user_attrs.get(name) for trial in self._trials()}

    def parameters(self) -> list[Mapping[str, Value]]:
        """Read the parameters of every trial, by number; a baseline has none."""
        return [trial.params for trial in self._trials()]

    def running(self) -> list[Proposal]:
        """Read the trials that have not ended: after a crash, those of the driver that died."""
        return [_proposal(trial) for trial in self._trials(TrialState.RUNNING)]

    def trial(self, number: int) -> optuna.Trial:
        """Give Optuna's own object of a trial."""
        return optuna.Trial(self.study, self._trial_id(number))

    def _trial_id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._trials()[number]

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Read the trials, or those in some states.

        A database gives every trial names and distributions of its own, which are most of what it takes in memory.
        Those that have ended share them.
        """
        trials = self.study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.number not in self._sharing and trial.state.is_finished():
                self._sharing.add(trial.number)
                self._share(trial)
        return [trial for trial in trials if trial.state in states] if states else trials

    def _share(self, trial: FrozenTrial) -> None:
        if trial.distributions == self._space:
            own, trial.distributions = trial.distributions, self._space
            values = {name: own[name].to_internal_repr(value) for name, value in trial.params.items()}
            trial.params = {sys.intern(name): self._space[name].to_external_repr(one) for name, one in values.items()}
        trial.user_attrs = {sys.intern(name): value for name, value in trial.user_attrs.items()}

    @cached_property
    def _study_id(self) -> int:
        return self.storage.get_study_id_from_name(self.study.study_name)

    @staticmethod
    def artifacts(folder: Path) -> FileSystemArtifactStore:
        """Open the store of images in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        return FileSystemArtifactStore(str(folder))

    def attach_image(self, number: int, image: Path, *, folder: Path) -> None:
        """Make `image` an artifact of a running trial, stored in `folder`, once."""
        trial = self._frozen(number)
        known = get_all_artifact_meta(trial, storage=self.storage)
        if not trial.state.is_finished() and image.name not in [meta.filename for meta in known]:
            upload_artifact(
                artifact_store=self.artifacts(folder), file_path=str(image), study_or_trial=trial, storage=self.storage
            )

    @property
    def page_path(self) -> str:
        """The path at which the dashboard shows the study's note."""
        return f"/dashboard/studies/{self._study_id}/note"

    def picture_url(self, name: str, *, folder: Path) -> str | None:
        """Give the path at which the dashboard serves a picture of the study; None if its file is not there."""
        artifact = self.study.user_attrs.get(_PICTURES, {}).get(name)
        is_there = artifact is not None and (folder / artifact).exists()
        return f"/artifacts/{self._study_id}/{artifact}" if is_there else None

    def publish_picture(self, name: str, content: bytes, *, folder: Path) -> None:
        """Make a PNG an artifact of the study, since none can be added to a trial that has ended. A name that is known
        gets its file again: what was deleted from the dashboard's list does not come back there."""
        known, store = self.study.user_attrs.get(_PICTURES, {}), self.artifacts(folder)
        if name in known:
            store.write(known[name], io.BytesIO(content))
            return
        file = folder / name
        file.write_bytes(content)
        artifact = upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=self.study)
        file.unlink()
        self.study.set_user_attr(_PICTURES, {**known, name: artifact})


def _open(url: str) -> optuna.storages.RDBStorage:
    """Open a database; Optuna fills in what stands in braces."""
    braced = url.replace("{", "{{").replace("}", "}}")
    try:
        storage = optuna.storages.RDBStorage(braced, engine_kwargs=engine_options(url))
    except RuntimeError as error:
        raise UserError(f"cannot be used ({' '.join(str(error).split())})", field="--storage") from None
    reconnect_patiently(storage.engine)
    return storage


def _proposal(trial: FrozenTrial) -> Proposal:
    return Proposal(number=trial.number, parameters=trial.params, notes=trial.user_attrs)
