"""The evidence: complete, replaced and never doubled, and together with Optuna's tables in one database."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import optuna
import pytest
from builders import Call
from sqlalchemy import create_engine, event, inspect, text

from flexsearch.errors import UserError
from flexsearch.study.executor import run_locally
from flexsearch.study.storage import connect, storage_url
from flexsearch.study.store import Cost, Store, Timing
from flexsearch.trial.contract import Rung, TrialOrder


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    is_file = request.param == "sqlite"
    engine = connect(storage_url(tmp_path, None) if is_file else request.getfixturevalue("postgres").new_database())
    yield Store(engine, study="s", seed=0)
    engine.dispose()


@pytest.fixture
def order(open_search: Call) -> TrialOrder:
    return open_search().next()


@pytest.fixture
def done(store: Store, order: TrialOrder, run_trial: Call) -> TrialOrder:
    """The order of trial 0, which is complete."""
    store.start(0, order.candidate, baseline=None)
    store.record(0, run_trial(order))
    return order


def test_a_trial_is_kept_whole(store: Store, order: TrialOrder, run_trial: Call) -> None:
    rungs = (Rung(updates=0, quality=9.0, paired_distance=0.25), Rung(updates=1, quality=8.0))
    result = replace(run_trial(order), curve=((1, 0.5), (2, 0.125)), rungs=rungs)
    assert store.start(0, order.candidate, baseline="dense") == 1
    store.record(0, result)
    (record,) = store.trials()
    assert record.candidate == order.candidate
    assert record.measurements == result.measurements
    assert (store.curve(0), record.num_updates) == (result.curve, 2)
    assert (record.rungs, record.rung(1), record.rung(2)) == (rungs, rungs[1], None)
    assert (record.state, record.baseline, record.attempts) == ("complete", "dense", 1)
    assert record.ended is not None
    store.record(0, replace(result, seconds={"sample": 7.0}), seed=1)
    assert store.trials()[0].seconds == result.seconds, "a repetition's are its own"


def test_a_candidate_is_read_in_any_order_of_its_keys(store: Store, done: TrialOrder) -> None:
    values = done.candidate.to_dict()
    for keys in permutations(values):
        with store.engine.begin() as connection:
            written = json.dumps({key: values[key] for key in keys})
            connection.execute(text("UPDATE flexsearch_trial SET candidate = :written"), {"written": written})
        assert Store(store.engine, study="s").trials()[0].candidate == done.candidate


def test_a_database_from_before_rungs_had_a_drift_is_read_on(store: Store, done: TrialOrder, run_trial: Call) -> None:
    store.record(0, replace(run_trial(done), rungs=(Rung(updates=0, quality=9.0),)))
    before = store.trials()
    with store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE flexsearch_rung DROP COLUMN drift"))
        connection.execute(text("DROP TABLE flexsearch_version"))
    for _ in range(2):
        assert Store(store.engine, study="s", seed=0).trials() == before


def test_another_reader_sees_what_changes_and_reads_no_more(store: Store, order: TrialOrder, run_trial: Call) -> None:
    reader = Store(store.engine, study="s", seed=0)
    assert reader.trials() == []
    for number in range(3):
        store.start(number, order.candidate, baseline=None)
        assert [record.state for record in reader.trials()] == ["complete"] * number + ["running"]
        store.record(number, run_trial(order))
    assert reader.trials() == store.trials()
    assert all(record.measurements for record in reader.trials())
    statements: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *seen: statements.append(seen[2]))
    reader.trials()
    assert len(statements) == 1, "what is known is not read again"


def test_many_trials_are_read_as_few_are(
    store: Store, order: TrialOrder, run_trial: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        store.start(number, order.candidate, baseline=None)
        rungs = (Rung(updates=0, quality=9.0 + number), Rung(updates=1, quality=8.0))
        store.record(number, replace(run_trial(order), rungs=rungs))
        store.record(number, run_trial(replace(order, seed=7)), seed=7)
    few = Store(store.engine, study="s").trials()
    monkeypatch.setattr("flexsearch.study.store._AT_ONCE", 2)
    assert Store(store.engine, study="s").trials() == few


def test_one_trial_is_read_alone(store: Store, done: TrialOrder) -> None:
    store.start(7, done.candidate, baseline=None)
    assert [store.trial(number) for number in (0, 7)] == store.trials()
    assert store.trial(1) is None


def test_recording_again_replaces(store: Store, order: TrialOrder, run_trial: Call) -> None:
    store.start(0, order.candidate, baseline=None)
    store.record(0, replace(run_trial(order), curve=((1, 0.5), (2, 0.25), (3, 0.1))))
    assert store.start(0, order.candidate, baseline=None) == 2
    assert store.trials()[0].state == "running"
    shorter = replace(run_trial(order), curve=((1, 0.4),))
    store.record(0, shorter)
    store.record(0, shorter)
    (record,) = store.trials()
    assert (store.curve(0), record.num_updates) == (((1, 0.4),), 1)
    assert len(record.measurements) == 3
    assert record.attempts == 2


def test_repetitions_are_kept_apart(store: Store, done: TrialOrder, run_trial: Call) -> None:
    own = store.trials()[0]
    store.record(0, run_trial(replace(done, seed=7)), seed=7)
    assert store.trials()[0] == own
    values = store.repetitions("fid_fashion_cnn")[0]
    assert set(values) == {0, 7}
    assert values[7] == pytest.approx(values[0] + 0.07)


def test_costs_count_once_however_often_they_are_recorded(store: Store, order: TrialOrder, run_trial: Call) -> None:
    for _ in range(2):
        store.record_cost(Cost(what="warm start", seconds=100.0, device="cpu"))
        for number in (0, 1):
            store.start(number, order.candidate, baseline=None)
            store.record(number, run_trial(order))
        store.record(0, run_trial(order), seed=9)
    assert {cost.what: cost.seconds for cost in store.costs()} == {
        "noise: fine-tune": 2.0,
        "noise: sample": 1.0,
        "trials: fine-tune": 4.0,
        "trials: sample": 2.0,
        "warm start": 100.0,
    }


def test_studies_share_a_database_without_meeting(store: Store, order: TrialOrder, run_trial: Call) -> None:
    other = Store(store.engine, study="other", seed=0)
    for one, config in ((store, {"a": 1}), (other, {"a": 2})):
        one.start(0, order.candidate, baseline=None)
        one.record(0, run_trial(order))
        one.save_config(config, version="1")
    other.end(0, "failed", reason="why")
    assert store.trials()[0].state == "complete"
    assert (other.trials()[0].state, other.trials()[0].reason) == ("failed", "why")
    assert (store.config(), other.config()) == ({"a": 1}, {"a": 2})


def test_optunas_tables_lie_beside_ours(open_search: Call, run_trial: Call, tmp_path: Path) -> None:
    search = open_search(trials=4)
    run_locally(search, run_trial)
    tables = inspect(create_engine(storage_url(tmp_path, None))).get_table_names()
    assert {"trials", *(f"flexsearch_{name}" for name in ("trial", "measurement", "curve", "cost"))} <= set(tables)
    study = optuna.load_study(study_name="test", storage=storage_url(tmp_path, None))
    assert study.metric_names == ["fid_fashion_cnn", "latency_ms"]
    for trial, record in zip(study.trials, search.store.trials(), strict=True):
        assert trial.values == [record.measurements[name].value for name in study.metric_names]
        assert trial.user_attrs["digest"] == record.digest


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "--storage: cannot be used"),
        ("oracle9://x", "--storage: cannot be used"),
        ("postgresql+psycopg://nobody@127.0.0.1:9/x", "--storage: cannot be reached"),
        ("sqlite:////nowhere/at/all.db", "--storage: cannot be reached"),
    ],
)
def test_databases_that_cannot_be_had(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        connect(url)


def test_a_later_timing_stands_beside_the_trials_own(store: Store, done: TrialOrder, run_trial: Call) -> None:
    own = store.trials()[0]
    latency = own.measurements["latency_ms"]
    for value in (7.0, 8.0):
        store.record_timing(0, replace(latency, value=value))
    assert store.trials()[0] == own, "the search goes by what it measured"
    assert store.timings() == {0: Timing(latency=replace(latency, value=8.0), is_later_than_confirmation=False)}
    assert store.confirmations() == {}, "nothing was drawn"
    store.record_confirmation(0, run_trial(done), seed=10_000, images=80)
    assert not store.timings()[0].is_later_than_confirmation
    store.record_timing(0, replace(latency, value=9.0))
    assert store.timings()[0].is_later_than_confirmation
    store.record_confirmation(0, run_trial(done), seed=10_001, images=80)
    assert (store.timings()[0].latency.value, store.timings()[0].is_later_than_confirmation) == (9.0, False)
    assert set(store.confirmations()) == {80}
