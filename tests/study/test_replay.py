"""Trials from a table: what comes out is what stands in it, rungs and costs included."""

import runpy
from pathlib import Path

import pandas as pd
import pytest

from flexsearch.errors import UserError
from flexsearch.schedule import Candidate, Target
from flexsearch.schedule.presets import dit_shape
from flexsearch.space import SearchSpace
from flexsearch.study.baselines import baselines_of
from flexsearch.study.executor import run_locally
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.search import Search
from flexsearch.study.settings import SearchSettings
from flexsearch.study.storage import connect
from flexsearch.study.store import Store
from flexsearch.trial.contract import Progress, Rung, TrialOrder

FILE = Path(__file__).parents[2] / "experiments" / "density_bench" / "replay.py"
Replay = runpy.run_path(str(FILE))["Replay"]
OBJECTIVES = ("fid_fashion_cnn", "latency_ms")
SETTINGS = SearchSettings(trials=20, algorithm="random", seed=7)
TARGET = Target(shape=dit_shape(num_blocks=8, width=16, side=8))


@pytest.fixture
def table(space: SearchSpace) -> pd.DataFrame:
    """The space and its baselines under two seeds, after 0 and 8 updates; the dense base after 0."""
    baselines = [one.candidate for one in baselines_of(space, SETTINGS)]
    candidates = {one.digest: one for one in (*baselines, *map(space.build, space.choices()))}
    return pd.DataFrame(
        {
            "digest": digest,
            "seed": seed,
            "updates": updates,
            "macs": 1000.0,
            "latency_ms": float(candidate.sampling.steps * candidate.schedule.roles.count("dense")),
            "fid_fashion_cnn": 30.0 / candidate.sampling.steps + 5 * seed - updates / 4,
            "seconds_training": updates / 2,
            "seconds_judging": 3.0,
        }
        for digest, candidate in candidates.items()
        for seed in (0, 1)
        for updates in ((0,) if candidate.schedule.is_dense else (0, 8))
    )


@pytest.fixture
def order(space: SearchSpace) -> TrialOrder:
    candidate: Candidate = space.build(next(iter(space.choices())))
    return TrialOrder(number=0, candidate=candidate, run_dir=Path(), seed=123)


def test_a_trial_is_its_rows(table: pd.DataFrame, order: TrialOrder) -> None:
    replay = Replay(table, objectives=OBJECTIVES, updates=8, rungs=(0,), seed=1)
    result = replay(order, lambda _: True)
    assert result.state == "complete"
    assert result.measurements["fid_fashion_cnn"].value == 30 / order.candidate.sampling.steps + 5 - 2
    assert result.rungs == (Rung(updates=0, quality=30 / order.candidate.sampling.steps + 5),)
    assert result.seconds == {"fine-tune": 4.0, "judge": 6.0}, "judged twice, at the rung and at the end"
    again = replay(order, lambda _: True)
    assert again.seconds == {"fine-tune": 0.0, "judge": 3.0}, "its schedule is trained"
    assert (again.measurements, again.rungs) == (result.measurements, ())
    seen: list[Progress] = []
    replay = Replay(table, objectives=OBJECTIVES, updates=8, rungs=(0,), seed=1)
    stopped = replay(order, lambda progress: bool(seen.append(progress)))
    assert stopped.state == "pruned"
    assert stopped.seconds == {"fine-tune": 0.0, "judge": 3.0}
    assert set(stopped.measurements) == {"latency_ms", "macs"}
    assert [progress.so_far for progress in seen] == [stopped]


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
        keep=0.25,
    )
    replay = Replay(table, objectives=OBJECTIVES, updates=8, rungs=(0,))
    assert run_locally(search, replay).reason == "20 trials are finished"
    records = [record for record in store.trials() if record.state == "complete"]
    assert len(records) + sum(record.state == "pruned" for record in store.trials()) == 20
    rows = table[(table["seed"] == 0)].set_index(["digest", "updates"])["fid_fashion_cnn"]
    for record in records:
        updates = 0 if record.candidate.schedule.is_dense else 8
        assert record.measurements["fid_fashion_cnn"].value == rows[record.digest, updates]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 2}, "table: has no rows of seed 2"),
        ({"updates": 9}, "table: has no fine-tunes of 9 updates; nearest legal: 8"),
        ({"objectives": ("kid", "latency_ms")}, "table: has no column 'kid'"),
    ],
)
def test_what_a_table_lacks_is_said(table: pd.DataFrame, change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Replay(table, **{"objectives": OBJECTIVES, "updates": 8, **change})


def test_a_candidate_outside_of_the_table_is_said(table: pd.DataFrame, order: TrialOrder) -> None:
    replay = Replay(table[table["digest"] != order.candidate.digest], objectives=OBJECTIVES, updates=8)
    with pytest.raises(UserError, match=r"table: does not hold .* after 8 updates"):
        replay(order, lambda _: True)
