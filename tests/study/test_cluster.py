"""A Ray cluster of a head and two workers with one CPU each, as processes: a lost node's trials run elsewhere."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from builders import Call, by_value
from servers import RayCluster, ray_cluster

from flexsearch.errors import UserError
from flexsearch.study.ray_address import check_cluster
from flexsearch.study.ray_tune import run_on_ray
from flexsearch.study.settings import Resources
from flexsearch.trial.contract import Report, TrialOrder, TrialResult
from flexsearch.trial.device_lock import DeviceLock

pytestmark = pytest.mark.cluster
NUM_TRIALS = 8
GUARDS = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
"""What Ray reads once, when it is imported: they stay, for a Ray of our own may follow in this process."""


@dataclass(frozen=True)
class Timing:
    """Runs trials by the formula, after timing them on the device; the trial `loses` loses its node, once."""

    inner: Call
    log: Path
    loses: int = 2

    def __call__(self, order: TrialOrder, report: Report) -> TrialResult:
        node = os.getppid()  # the raylet
        self._note(order, begun=time.time(), node=node)
        if order.number == self.loses and not (order.run_dir / "lost").exists():
            (order.run_dir / "lost").write_text(str(node))
            os.kill(node, signal.SIGKILL)
            time.sleep(60)
        with DeviceLock(order.run_dir / "device").exclusive():
            begun = time.time()
            time.sleep(0.3)
            self._note(order, timed=(begun, time.time()))
        result: TrialResult = self.inner(order, report)
        return result

    def _note(self, order: TrialOrder, **facts: Any) -> None:
        with self.log.open("a") as lines:
            lines.write(json.dumps({"trial": order.number, **facts}) + "\n")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster() as started, pytest.MonkeyPatch.context() as patch:
        os.environ |= GUARDS
        for name, value in started.environment.items():
            patch.setenv(name, value)
        check_cluster(started.address)
        yield started


@pytest.fixture(scope="module")
def notes(
    cluster: RayCluster, make_search: Call, run_trial: Call, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, list]:
    """A search that has ended, and what its trials noted."""
    run_dir = tmp_path_factory.mktemp("cluster")
    search = make_search(run_dir=run_dir, trials=NUM_TRIALS, algorithm="random")
    trial = Timing(inner=run_trial, log=run_dir / "log")
    with by_value(trial, run_trial):
        end = run_on_ray(search, trial, resources=Resources(cpu=1), slots=1, address=cluster.address)
    assert end.reason == f"{NUM_TRIALS} trials are finished"
    return search, [json.loads(line) for line in (run_dir / "log").read_text().splitlines()]


def test_a_lost_nodes_trials_run_elsewhere(notes: tuple[Any, list]) -> None:
    search, lines = notes
    nodes = [line["node"] for line in lines if line["trial"] == 2 and "node" in line]
    assert len(nodes) == 2, "it was begun again"
    assert nodes[0] != nodes[1]
    assert len({line["node"] for line in lines if "node" in line}) == 2, "both nodes had trials"
    records = search.store.trials()
    assert {record.state for record in records} == {"complete"}
    assert len(records) == len({record.digest for record in records}) == NUM_TRIALS
    assert records[2].attempts == 2


def test_two_trials_never_time_on_one_device(notes: tuple[Any, list]) -> None:
    """The two nodes are one machine."""
    times = sorted(line["timed"] for line in notes[1] if "timed" in line)
    assert len(times) >= NUM_TRIALS
    assert all(end <= begun for (_, end), (begun, _) in pairwise(times))


def test_the_last_node_that_is_killed_is_told_within_a_minute(
    notes: tuple[Any, list],
    cluster: RayCluster,
    open_search: Call,
    run_trial: Call,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The other one was lost by the search before. Ray has much to say about it, and does not."""
    trial = Timing(inner=run_trial, log=tmp_path / "log", loses=0)
    with by_value(trial, run_trial), pytest.raises(UserError, match=r"no node of Ray's .* is alive any more"):
        run_on_ray(open_search(), trial, resources=Resources(cpu=1), slots=1, address=cluster.address)
    assert time.time() - (tmp_path / "lost").stat().st_mtime < 60
    assert capfd.readouterr() == ("", "")
