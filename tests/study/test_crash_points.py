"""A driver that dies at any of its writes: the search that resumes ends with the ledger of one that never died.

Writes are Optuna's, the transactions of our tables, and what a trial leaves. They are counted, and the search dies at
the first, the second, and so on to the last of them, with every sampler. Of all this only Optuna's Gaussian process
needs torch.
"""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from builders import Killed
from optuna.trial import TrialState
from sqlalchemy import Engine, StaticPool, create_engine, event

from flexsearch.space import SearchSpace, parse_space
from flexsearch.study.baselines import baselines_of, waves_of
from flexsearch.study.executor import run_locally
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.search import Search
from flexsearch.study.settings import AlgorithmName, SearchSettings
from flexsearch.study.store import Store
from flexsearch.trial.contract import Report, TrialOrder, TrialResult
from flexsearch.trial.result_file import write_result

OBJECTIVES = ("fid_fashion_cnn", "latency_ms")
TRIALS = 6
ALGORITHMS: tuple[AlgorithmName, ...] = ("tpe", "gp", "nsga2", "random", "qmc")
_WRITES = (
    "create_new_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "create_new_trial",
    "set_trial_param",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "set_trial_state_values",
)


class Counter:
    """Counts writes, and dies before the write `dies_at`."""

    def __init__(self, dies_at: int | None) -> None:
        self.done, self.dies_at = 0, dies_at

    def __call__(self, *_: Any) -> None:
        if self.done == self.dies_at:
            raise Killed
        self.done += 1


def storage_of(counter: Counter) -> optuna.storages.InMemoryStorage:
    """Optuna's storage in memory; every write is counted."""

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            counter()
            return write(*arguments, **options)

        return call

    storage = optuna.storages.InMemoryStorage()
    for name in _WRITES:
        setattr(storage, name, counted(getattr(storage, name)))
    return storage


def engine_of(counter: Counter) -> Engine:
    """A database in memory; every transaction is counted."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    event.listen(engine, "commit", counter)
    return engine


class FirstOfAll:
    """An acquisition that takes the first candidate."""

    num = 4

    def is_ready(self, _: Any) -> bool:
        return True

    def best(self, _: Any, __: Any) -> int:
        return 0


class World:
    """What outlives a driver: the database, and the files of the trials."""

    def __init__(
        self, folder: Path, space: SearchSpace, run_trial: Any, *, dies_at: int | None, **settings: Any
    ) -> None:
        self.counter = Counter(dies_at)
        self.storage, self.engine = storage_of(self.counter), engine_of(self.counter)
        self.folder, self.space, self.run_trial = folder, space, run_trial
        self.pooled, self.seeds = settings.pop("pooled", False), settings.pop("seeds", ())
        self.settings = SearchSettings(**{"trials": TRIALS, "startup": 2, "seed": 1, **settings})

    def search(self) -> str:
        """Open the study and search to the end, as one command does; give the reason of the end."""
        store = Store(self.engine, study="s", seed=1)
        self.study = OptunaStudy(
            self.storage, name="s", objectives=OBJECTIVES, domains=self.space.domains, settings=self.settings
        )
        search = Search(
            optuna_study=self.study,
            store=store,
            space=self.space,
            baselines=baselines_of(self.space, self.settings),
            settings=self.settings,
            run_dir=self.folder,
            objectives=OBJECTIVES,
            acquisition=FirstOfAll() if self.pooled else None,  # type: ignore[arg-type]
            waves=waves_of(self.space, self.settings),
            seeds=self.seeds,
        )
        return run_locally(search, self._trial).reason

    def _trial(self, order: TrialOrder, report: Report) -> TrialResult:
        """A trial that leaves its file as real ones do; some schedules break a limit, some diverge."""
        result, kind = self.run_trial(order), int(order.candidate.digest, 16) % 7
        if order.baseline is None and kind == 1:
            left = {name: one for name, one in result.measurements.items() if name != OBJECTIVES[0]}
            result = replace(result, state="infeasible", measurements=left, reason="too slow")
        if order.baseline is None and kind == 2:
            result = replace(result, curve=((1, float("nan")),)).if_finite()
        self.counter()
        write_result(order, result)
        self.counter()
        return result

    def ledger(self) -> list[Any]:
        """All that is decided and recorded, in Optuna's study and in our tables."""
        records = Store(self.engine, study="s", seed=1).trials()
        ours = [replace(one, started="", ended=None, attempts=1) for one in records]
        trials = self.study.study.trials
        theirs = [(one.number, one.state, one.values, one.params, one.user_attrs, one.constraints) for one in trials]
        return [ours, theirs]


@pytest.fixture
def small_space(space: SearchSpace) -> SearchSpace:
    """12 schedules, so that some are proposed twice."""
    return parse_space(
        {
            "segments": [{"family": "pooling", "depth": {"int": [1, 4]}}, {"family": "dense", "depth": "rest"}],
            "sampler_steps": {"choice": [2, 3, 4]},
        },
        target=space.target,
    )


@pytest.fixture
def asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler is asked once with the same trials: some take a second."""
    known: dict[bytes, Any] = {}
    asked = OptunaStudy._asked

    def ask(self: OptunaStudy, fixed: Any) -> Any:
        trials = self.study.get_trials(deepcopy=False)
        rows = [(one.number, one.state, one.values, one.params, one.constraints) for one in trials]
        key = pickle.dumps((self._settings, fixed, rows))
        if key not in known:
            known[key] = asked(self, fixed)
        return known[key]

    monkeypatch.setattr(OptunaStudy, "_asked", ask)


def assert_it_goes_on(world: World, *, reason: str, ledger: list[Any]) -> None:
    """Dies once, and resumes to the same end and ledger."""
    dies_at = world.counter.dies_at
    with pytest.raises(Killed):
        world.search()
    world.counter.dies_at = None
    assert world.search() == reason, dies_at
    assert world.ledger() == ledger, dies_at


torchless = pytest.mark.torchless
SEEDS = ({"pooling.depth": 1}, {"pooling.depth": 3}, {"pooling.depth": 4})


@pytest.mark.parametrize(
    "settings",
    [
        *(pytest.param({"algorithm": one, "pool": 1}, marks=() if one == "gp" else torchless) for one in ALGORITHMS),
        pytest.param({"algorithm": "random", "pooled": True}, marks=torchless),
        pytest.param({"algorithm": "random", "seeds": SEEDS}, marks=torchless),
    ],
)
def test_a_driver_that_dies_at_any_write_leaves_what_the_next_one_goes_on_from(
    small_space: SearchSpace, run_trial: Any, tmp_path: Path, asks_once: None, settings: dict[str, Any]
) -> None:
    whole = World(tmp_path / "whole", small_space, run_trial, dies_at=None, **settings)
    reason = whole.search()
    records, trials = whole.ledger()
    assert sum(one.state in ("complete", "pruned") for one in records) == TRIALS
    assert all(row[1] not in (TrialState.RUNNING, TrialState.WAITING) for row in trials)
    assert whole.counter.done > 50
    for dies_at in range(whole.counter.done):
        world = World(tmp_path / str(dies_at), small_space, run_trial, dies_at=dies_at, **settings)
        assert_it_goes_on(world, reason=reason, ledger=whole.ledger())


@torchless
def test_a_driver_that_dies_between_waves_of_baselines_goes_on(
    sampling_space: SearchSpace, run_trial: Any, tmp_path: Path, asks_once: None
) -> None:
    """Which baselines follow is known once solver and gain are settled. At every third write, for want of time."""
    options: dict[str, Any] = {"algorithm": "random", "trials": 25}
    whole = World(tmp_path / "whole", sampling_space, run_trial, dies_at=None, **options)
    reason = whole.search()
    assert any("ab2-gain" in (one.baseline or "") for one in whole.ledger()[0]), "there are waves"
    for dies_at in range(0, whole.counter.done, 3):
        world = World(tmp_path / str(dies_at), sampling_space, run_trial, dies_at=dies_at, **options)
        assert_it_goes_on(world, reason=reason, ledger=whole.ledger())
