"""Trials on a real Ray, one session for the whole file: side by side, killed, broken, refused."""

import json
import logging
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from builders import Call, by_value
from optuna.trial import TrialState

from flexsearch.errors import UserError
from flexsearch.study.events import Moved
from flexsearch.study.ray_tune import ray_session, run_on_ray
from flexsearch.study.settings import Resources
from flexsearch.trial.contract import Progress, Report, TrialOrder, TrialResult

HALF = Resources(cpu=0.5)
NUM_GPUS = 2


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    """On a machine of which Ray believes that it has two GPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_OVERRIDE_RESOURCES", json.dumps({"GPU": NUM_GPUS}))
        with ray_session(None):
            yield


def on_ray(search: Any, run_trial: Any, *, slots: int | None, resources: Resources = HALF) -> str:
    """Runs a search with `slots` trials at once."""
    with by_value(run_trial, getattr(run_trial, "inner", run_trial)):
        return run_on_ray(search, run_trial, resources=resources, slots=slots).reason


@dataclass
class Misbehaving:
    """Runs trials by the formula, apart from those that it is told to end in another way."""

    inner: Call
    log: Path
    ends: Mapping[int, str] = field(default_factory=dict)

    def __call__(self, order: TrialOrder, report: Report) -> TrialResult:
        self._note(order, "begins")
        match self.ends.get(order.number):
            case "dies once" if not (order.run_dir / "died").exists():
                (order.run_dir / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            case "meets":
                self._meet(order)
            case "lags":
                report = partial(_behind, report)
            case "breaks":
                raise ZeroDivisionError("one over zero")
            case "refuses":
                raise UserError("is empty", field="data.root")
        result = self.inner(order, report)
        self._note(order, "ends")
        return result

    def _meet(self, order: TrialOrder) -> None:
        """Wait for another trial that waits here too: one alone waits in vain."""
        (order.run_dir / f"waits-{order.number}").touch()
        for _ in range(12_000):
            if len(list(order.run_dir.glob("waits-*"))) > 1:
                return
            time.sleep(0.05)
        raise TimeoutError("no other trial ran at once")

    def _note(self, order: TrialOrder, what: str) -> None:
        with self.log.open("a") as lines:
            lines.write(f"{order.number} {what}\n")


@dataclass
class Seeing(Misbehaving):
    """Notes the GPUs that a trial sees, too."""

    def _note(self, order: TrialOrder, what: str) -> None:
        super()._note(order, f"{what} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}")


def _behind(report: Report, progress: Progress) -> bool:
    """Report rungs that are worse and slower than those of any other trial."""
    if (found := progress.so_far) is not None:
        slow = replace(found.measurements["latency_ms"], value=1e6)
        rungs = tuple(replace(rung, quality=1e6) for rung in found.rungs)
        found = replace(found, measurements={**found.measurements, "latency_ms": slow}, rungs=rungs)
        progress = replace(progress, so_far=found)
    return report(progress)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A search that has ended, and what is left of it.

    Attributes:
        reason: why it ended.
        ran_to_the_end: the trials that did, in a worker.
        logged: by Ray, in this process.
    """

    run_dir: Path
    search: Any
    reason: str
    events: list[Any]
    ran_to_the_end: set[int]
    logged: list[logging.LogRecord]

    @property
    def records(self) -> dict[int, Any]:
        return {record.number: record for record in self.search.store.trials()}


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.logged.append(record)


@pytest.fixture(scope="module")
def ended(_ray: None, make_search: Call, staged: Call, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """One search for all that can happen on the way: workers are slow to start, and only a real one can die."""
    run_dir = tmp_path_factory.mktemp("accidents")
    search = make_search(run_dir=run_dir, trials=10, keep=0.2, algorithm="random", max_retries=1)
    events: list[Any] = []
    search.watch(events.append)
    ends = {0: "meets", 1: "meets", 4: "dies once", 5: "breaks", 9: "lags"}
    kept = Kept()
    for name in ("ray.tune", "ray.air"):
        logging.getLogger(name).addHandler(kept)
    reason = on_ray(search, Misbehaving(inner=staged, log=run_dir / "log", ends=ends), slots=2)
    lines = [line.split() for line in (run_dir / "log").read_text().splitlines()]
    whole = {int(number) for number, what in lines if what == "ends"}
    return Ended(run_dir=run_dir, search=search, reason=reason, events=events, ran_to_the_end=whole, logged=kept.logged)


def test_two_at_once_and_nothing_twice(ended: Ended) -> None:
    assert ended.reason == "10 trials are finished"
    assert ended.search.num_finished == 10
    digests = [record.digest for record in ended.records.values() if record.state in ("complete", "pruned")]
    assert len(digests) == len(set(digests)) == 10
    assert {number for number, record in ended.records.items() if record.attempts > 1} == {4}
    assert any(isinstance(event, Moved) for event in ended.events)
    assert {ended.records[number].state for number in (0, 1)} == {"complete"}, "each waited for the other"


def test_a_worker_that_dies_costs_an_attempt_and_an_error_its_trial(ended: Ended) -> None:
    died, broke = ended.records[4], ended.records[5]
    assert (died.state in ("complete", "pruned"), died.attempts) == (True, 2)
    assert broke.state == "failed"
    assert "ZeroDivisionError: one over zero" in (broke.reason or "")
    assert not [one.getMessage() for one in ended.logged if one.levelno >= logging.ERROR], "the search goes on"
    assert "Traceback" in (ended.run_dir / "trials" / "5" / "error.log").read_text()


def test_trials_are_stopped_at_rungs(ended: Ended) -> None:
    """What a worker reported at its last rung is recorded, and the worker goes no further. Which others are stopped
    depends on who comes first."""
    pruned = [record for record in ended.records.values() if record.state == "pruned"]
    assert 9 in {record.number for record in pruned}
    for record in pruned:
        assert record.baseline is None
        assert record.rungs
        assert "latency_ms" in record.measurements
        assert "fid_fashion_cnn" not in record.measurements
        assert ended.search.optuna_study.study.trials[record.number].state == TrialState.PRUNED
    complete = [record for record in ended.records.values() if record.state == "complete"]
    assert ended.ran_to_the_end == {record.number for record in complete}
    assert all(len(record.rungs) == 2 for record in complete if record.num_updates)


@pytest.mark.usefixtures("_ray")
def test_what_the_user_can_mend_ends_the_search(open_search: Call, run_trial: Call, tmp_path: Path) -> None:
    """And the session goes on: the same search ends on it, as an uninterrupted one does. One worker at a time is
    enough: each takes seconds to start."""
    search = open_search(trials=3)
    with pytest.raises(UserError, match=r"data\.root: is empty"):
        on_ray(search, Misbehaving(inner=run_trial, log=tmp_path / "log", ends={0: "refuses"}), slots=1)
    search = open_search(trials=3)
    assert on_ray(search, run_trial, slots=1) == "3 trials are finished"
    assert search.store.trials()[0].state == "complete"


@pytest.mark.usefixtures("_ray")
def test_more_than_ray_has_is_refused(open_search: Call, run_trial: Call) -> None:
    with pytest.raises(UserError, match="more than a node of Ray's has"):
        run_on_ray(open_search(), run_trial, resources=Resources(cpu=10_000), slots=1)


@pytest.mark.usefixtures("_ray")
def test_trials_of_one_gpu_run_at_once_on_as_many_as_there_are(
    open_search: Call, run_trial: Call, tmp_path: Path
) -> None:
    """Each sees one alone, and another than the trial beside it. The first two wait for each other."""
    one_each = Resources(cpu=0.5, gpu=1)
    seen = Seeing(inner=run_trial, log=tmp_path / "log", ends={0: "meets", 1: "meets"})
    assert on_ray(open_search(trials=4), seen, slots=None, resources=one_each) == "4 trials are finished"
    lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    gpus = {int(number): gpu for number, what, _, gpu in lines if what == "begins"}
    assert {gpus[0], gpus[1]} == {"0", "1"}
    assert set(gpus.values()) == {str(gpu) for gpu in range(NUM_GPUS)}
    by_worker = {(worker, gpu) for _, _, worker, gpu in lines}
    assert len(by_worker) == len({worker for worker, _ in by_worker}), "a worker stays on its GPU"
    with pytest.raises(UserError, match="more than a node of Ray's has"):
        run_on_ray(open_search(), run_trial, resources=Resources(gpu=NUM_GPUS + 1), slots=None)


@pytest.mark.usefixtures("_ray")
def test_ray_of_our_own_listens_on_this_machine_alone() -> None:
    import ray

    assert {node["NodeManagerAddress"] for node in ray.nodes()} == {"127.0.0.1"}
    assert os.environ["RAY_AUTH_MODE"] == "token"
