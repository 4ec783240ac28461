"""Trials from a table: what comes out is what stands in it, costs included."""

import runpy
from pathlib import Path

import pandas as pd
import pytest

from flexsearch.errors import UserError
from flexsearch.schedule import Candidate
from flexsearch.space import SearchSpace
from flexsearch.study.baselines import baselines_of
from flexsearch.study.executor import run_locally
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.search import Search
from flexsearch.study.settings import SearchSettings
from flexsearch.study.storage import connect
from flexsearch.study.store import Store
from flexsearch.trial.contract import TrialOrder

FILE = Path(__file__).parents[2] / "experiments" / "density_bench" / "replay.py"
Replay = runpy.run_path(str(FILE))["Replay"]
OBJECTIVES = ("fid_fashion_cnn", "latency_ms")
SETTINGS = SearchSettings(trials=20, algorithm="random", seed=7)


@pytest.fixture
def table(space: SearchSpace) -> pd.DataFrame:
    """The space and its baselines under two seeds."""
    baselines = [one.candidate for one in baselines_of(space, SETTINGS)]
    candidates = {one.digest: one for one in (*baselines, *map(space.build, space.choices()))}
    return pd.DataFrame(
        {
            "digest": digest,
            "seed": seed,
            "macs": 1000.0,
            "latency_ms": float(candidate.sampling.steps * candidate.schedule.roles.count("dense")),
            "fid_fashion_cnn": 30.0 / candidate.sampling.steps + 5 * seed,
            "seconds_training": 0.0 if candidate.schedule.is_dense else 4.0,
            "seconds_judging": 3.0,
        }
        for digest, candidate in candidates.items()
        for seed in (0, 1)
    )


@pytest.fixture
def order(space: SearchSpace) -> TrialOrder:
    candidate: Candidate = space.build(next(iter(space.choices())))
    return TrialOrder(number=0, candidate=candidate, run_dir=Path(), seed=123)


def test_a_trial_is_its_row(table: pd.DataFrame, order: TrialOrder) -> None:
    replay = Replay(table, objectives=OBJECTIVES, seed=1)
    result = replay(order, lambda _: True)
    assert result.state == "complete"
    assert result.measurements["fid_fashion_cnn"].value == 30 / order.candidate.sampling.steps + 5
    assert set(result.measurements) == {*OBJECTIVES, "macs"}
    assert result.seconds == {"fine-tune": 4.0, "score": 3.0}
    again = replay(order, lambda _: True)
    assert again.seconds == {"score": 3.0}, "its schedule is trained"
    assert again.measurements == result.measurements


def test_a_search_runs_on_a_table(
    table: pd.DataFrame, space: SearchSpace, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With nothing in the run directory: all is in the table and the store."""
    url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'study.db'}"
    store = Store(connect(url), study="replay", seed=SETTINGS.seed)
    search = Search(
        optuna_study=OptunaStudy(None, name="replay", objectives=OBJECTIVES, domains=space.domains, settings=SETTINGS),
        store=store,
        space=space,
        baselines=baselines_of(space, SETTINGS),
        settings=SETTINGS,
        run_dir=tmp_path,
        objectives=OBJECTIVES,
    )
    assert run_locally(search, Replay(table, objectives=OBJECTIVES)).reason == "20 trials are finished"
    records = [record for record in store.trials() if record.state == "complete"]
    assert len(records) == 20
    qualities = table[(table["seed"] == 0)].set_index("digest")["fid_fashion_cnn"]
    for record in records:
        assert record.measurements["fid_fashion_cnn"].value == qualities[record.digest]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2}, "table: has no rows of seed 2"),
        ({"objectives": ("kid", "latency_ms")}, "table: has no column 'kid'"),
    ],
)
def test_what_a_table_lacks_is_said(table: pd.DataFrame, change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Replay(table, **{"objectives": OBJECTIVES, **change})


def test_a_candidate_outside_of_the_table_is_said(table: pd.DataFrame, order: TrialOrder) -> None:
    replay = Replay(table[table["digest"] != order.candidate.digest], objectives=OBJECTIVES)
    with pytest.raises(UserError, match=r"table: does not hold "):
        replay(order, lambda _: True)
