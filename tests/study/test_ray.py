"""Trials on a real Ray, one session for the whole file: side by side, killed, broken, refused."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flexsearch.errors import UserError
from flexsearch.study.noise import Repetitions
from flexsearch.study.ray_tune import ray_session, run_on_ray
from flexsearch.study.settings import Resources
from flexsearch.trial.contract import Report, TrialOrder, TrialResult

Run = Callable[..., TrialResult]
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
    """Runs trials by the formula, apart from one that dies, breaks or refuses."""

    inner: Run
    number: int
    how: str
    log: Path

    def __call__(self, order: TrialOrder, report: Report) -> TrialResult:
        with self.log.open("a") as lines:
            lines.write(f"{order.number} {os.getpid()} {time.time()}\n")
        if order.number == self.number:
            if self.how == "dies once" and not (order.run_dir / "died").exists():
                (order.run_dir / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "always dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "breaks":
                raise ZeroDivisionError("one over zero")
            if self.how == "refuses":
                raise UserError("is empty", field="data.root")
        time.sleep(0.5 if self.how == "slowly" else 0)
        result = self.inner(order, report)
        with self.log.open("a") as lines:
            lines.write(f"{order.number} {os.getpid()} {time.time()}\n")
        return result


def table(search: Any) -> list[tuple[int, str]]:
    return [(record.number, record.state) for record in search.store.trials()]


def test_two_at_once_and_nothing_twice(
    open_search: Callable[..., Any], on_ray: Callable[..., str], run_trial: Run, tmp_path: Path
) -> None:
    search = open_search(sampler="random")
    slowly = Misbehaving(inner=run_trial, number=-1, how="slowly", log=tmp_path / "log")
    assert on_ray(search, slowly) == "12 trials are finished"
    complete = [record for record in search.store.trials() if record.state == "complete"]
    assert len(complete) == len({record.digest for record in complete}) == 12
    assert all(record.attempts == 1 for record in complete)
    rows = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    spans = [
        (float(begin[2]), float(end[2]))
        for n in {row[0] for row in rows}
        for begin, end in [[r for r in rows if r[0] == n]]
    ]
    overlaps = sum(a < d and c < b for i, (a, b) in enumerate(spans) for c, d in spans[:i])
    assert overlaps >= 4
    assert len({row[1] for row in rows}) >= 2


def test_a_killed_worker_costs_one_attempt(
    open_search: Callable[..., Any], on_ray: Callable[..., str], run_trial: Run, tmp_path: Path
) -> None:
    search = open_search(trials=8)
    on_ray(search, Misbehaving(inner=run_trial, number=4, how="dies once", log=tmp_path / "log"))
    record = search.store.trials()[4]
    assert (record.state, record.attempts) == ("complete", 2)
    assert search.num_finished == 8


def test_a_trial_that_kills_its_worker_is_given_up(
    open_search: Callable[..., Any], on_ray: Callable[..., str], run_trial: Run, tmp_path: Path
) -> None:
    search = open_search(trials=8, max_retries=1)
    on_ray(search, Misbehaving(inner=run_trial, number=5, how="always dies", log=tmp_path / "log"))
    record = search.store.trials()[5]
    assert (record.state, record.attempts, record.reason) == ("failed", 2, "was interrupted 2 times")
    assert search.num_finished == 8


def test_an_error_fails_its_trial_alone(
    open_search: Callable[..., Any], on_ray: Callable[..., str], run_trial: Run, tmp_path: Path
) -> None:
    search = open_search(trials=8)
    on_ray(search, Misbehaving(inner=run_trial, number=5, how="breaks", log=tmp_path / "log"))
    record = search.store.trials()[5]
    assert record.state == "failed"
    assert "ZeroDivisionError: one over zero" in (record.reason or "")
    assert "Traceback" in (tmp_path / "trials" / "5" / "error.log").read_text()
    assert search.num_finished == 8


def test_what_the_user_can_mend_ends_the_search(
    open_search: Callable[..., Any], on_ray: Callable[..., str], run_trial: Run, tmp_path: Path
) -> None:
    search = open_search(trials=8)
    with pytest.raises(UserError, match=r"data\.root: is empty"):
        on_ray(search, Misbehaving(inner=run_trial, number=4, how="refuses", log=tmp_path / "log"))
    resumed = open_search(trials=8)
    on_ray(resumed, Misbehaving(inner=run_trial, number=-1, how="", log=tmp_path / "log"))
    assert resumed.num_finished == 8
    assert resumed.store.trials()[4].state == "complete"


def test_the_noise_is_measured_in_the_same_session(
    open_search: Callable[..., Any], on_ray: Callable[..., str], run_trial: Run, tmp_path: Path
) -> None:
    search = open_search(trials=5)
    on_ray(search, run_trial)
    records = [record for record in search.store.trials() if record.curve][:2]
    repetitions = Repetitions(
        store=search.store, records=records, seeds=[1, 2], run_dir=tmp_path, objective="fid_fashion_cnn"
    )
    assert on_ray(repetitions, run_trial) == "the noise is measured"
    assert {number: set(row) for number, row in search.store.repetitions("fid_fashion_cnn").items()} == {
        record.number: {0, 1, 2} for record in records
    }


@pytest.mark.usefixtures("_ray")
def test_more_than_ray_has_is_refused(open_search: Callable[..., Any], run_trial: Run) -> None:
    with pytest.raises(UserError, match="more than Ray has"):
        run_on_ray(open_search(), run_trial, resources=Resources(cpu=10_000), slots=1)
