"""Trials on a real Ray, one session for the whole file: side by side, killed, broken, refused."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from builders import Call
from optuna.trial import TrialState

from flexsearch.errors import UserError
from flexsearch.study.events import Moved
from flexsearch.study.ray_tune import ray_session, run_on_ray
from flexsearch.study.repeats import repetitions
from flexsearch.study.settings import Resources
from flexsearch.trial.contract import Report, TrialOrder, TrialResult

HALF = Resources(cpu=0.5)


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with ray_session(None):
        yield


@pytest.fixture
def on_ray(_ray: None) -> Callable[..., str]:
    """Runs a search on Ray with two trials at once. Workers cannot import test files, so those travel by value."""
    from ray import cloudpickle

    def run(search: Any, run_trial: Any) -> str:
        functions = [run_trial, getattr(run_trial, "inner", run_trial)]
        modules = {sys.modules[getattr(one, "__module__", None) or type(one).__module__] for one in functions}
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            return run_on_ray(search, run_trial, resources=HALF, slots=2)
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)

    return run


@dataclass
class Misbehaving:
    """Runs trials by the formula, apart from those that it is told to end in another way."""

    inner: Call
    log: Path
    ends: Mapping[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __call__(self, order: TrialOrder, report: Report) -> TrialResult:
        self._note(order, "begins")
        match self.ends.get(order.number):
            case "dies once" if not (order.run_dir / "died").exists():
                (order.run_dir / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            case "always dies":
                os.kill(os.getpid(), signal.SIGKILL)
            case "breaks":
                raise ZeroDivisionError("one over zero")
            case "refuses":
                raise UserError("is empty", field="data.root")
        time.sleep(self.seconds)
        result = self.inner(order, report)
        self._note(order, "ends")
        return result

    def _note(self, order: TrialOrder, what: str) -> None:
        with self.log.open("a") as lines:
            lines.write(f"{order.number} {what} {os.getpid()} {time.time()}\n")


def test_two_at_once_and_nothing_twice(open_search: Call, on_ray: Call, run_trial: Call, tmp_path: Path) -> None:
    search = open_search(algorithm="random")
    slowly = Misbehaving(inner=run_trial, log=tmp_path / "log", seconds=0.5)
    events: list[Any] = []
    search.watch(events.append)
    assert on_ray(search, slowly) == "12 trials are finished"
    complete = [record for record in search.store.trials() if record.state == "complete"]
    assert len(complete) == len({record.digest for record in complete}) == 12
    assert all(record.attempts == 1 for record in complete)
    assert any(isinstance(event, Moved) for event in events)
    begins, ends = (
        {
            n: float(at)
            for n, found, _, at in map(str.split, (tmp_path / "log").read_text().splitlines())
            if found == what
        }
        for what in ("begins", "ends")
    )
    pairs = itertools.combinations(begins, 2)
    assert sum(begins[a] < ends[b] and begins[b] < ends[a] for a, b in pairs) >= 4


def test_one_search_with_every_accident(open_search: Call, on_ray: Call, run_trial: Call, tmp_path: Path) -> None:
    """A worker that dies costs an attempt, one that always dies its trial, an error its trial; the search goes on."""
    search = open_search(trials=9, max_retries=1)
    ends = {4: "dies once", 5: "breaks", 6: "always dies"}
    on_ray(search, Misbehaving(inner=run_trial, log=tmp_path / "log", ends=ends))
    records = {record.number: record for record in search.store.trials()}
    assert (records[4].state, records[4].attempts) == ("complete", 2)
    assert records[5].state == "failed"
    assert "ZeroDivisionError: one over zero" in (records[5].reason or "")
    assert "Traceback" in (tmp_path / "trials" / "5" / "error.log").read_text()
    assert (records[6].state, records[6].attempts) == ("failed", 2)
    assert records[6].reason == "was interrupted 2 times"
    assert search.num_finished == 9


def test_what_the_user_can_mend_ends_the_search_and_the_noise_follows_in_one_session(
    open_search: Call, on_ray: Call, run_trial: Call, tmp_path: Path
) -> None:
    search = open_search(trials=6)
    with pytest.raises(UserError, match=r"data\.root: is empty"):
        on_ray(search, Misbehaving(inner=run_trial, log=tmp_path / "log", ends={4: "refuses"}))
    search = open_search(trials=6)
    on_ray(search, run_trial)
    assert search.num_finished == 6
    assert search.store.trials()[4].state == "complete"
    records = [record for record in search.store.trials() if record.num_updates][:2]
    repeats = repetitions(search.store, records, seeds=[1, 2], run_dir=tmp_path, objective="fid_fashion_cnn")
    assert on_ray(repeats, run_trial) == "the noise is measured"
    assert {number: set(row) for number, row in search.store.repetitions("fid_fashion_cnn").items()} == {
        record.number: {0, 1, 2} for record in records
    }


def test_trials_are_stopped_at_rungs(open_search: Call, on_ray: Call, staged: Call, tmp_path: Path) -> None:
    """What a worker reported at its last rung is recorded, and the worker goes no further."""
    search = open_search(trials=10, keep=0.2, algorithm="random")
    assert on_ray(search, Misbehaving(inner=staged, log=tmp_path / "log")) == "10 trials are finished"
    records = search.store.trials()
    pruned = [record for record in records if record.state == "pruned"]
    assert pruned
    for record in pruned:
        assert record.baseline is None
        assert record.rungs
        assert "latency_ms" in record.measurements
        assert "fid_fashion_cnn" not in record.measurements
        assert search.optuna_study.study.trials[record.number].state == TrialState.PRUNED
    ended = {int(line.split()[0]) for line in (tmp_path / "log").read_text().splitlines() if " ends " in line}
    assert ended == {record.number for record in records if record.state == "complete"}
    assert all(len(record.rungs) == 2 for record in records if record.state == "complete" and record.num_updates)
    assert all(record.attempts == 1 for record in records if record.state != "duplicate")


@pytest.mark.usefixtures("_ray")
def test_more_than_ray_has_is_refused(open_search: Call, run_trial: Call) -> None:
    with pytest.raises(UserError, match="more than Ray has"):
        run_on_ray(open_search(), run_trial, resources=Resources(cpu=10_000), slots=1)


@pytest.mark.usefixtures("_ray")
def test_ray_of_our_own_listens_on_this_machine_alone() -> None:
    import ray

    assert {node["NodeManagerAddress"] for node in ray.nodes()} == {"127.0.0.1"}
    assert os.environ["RAY_AUTH_MODE"] == "token"
