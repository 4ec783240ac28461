"""A cluster that is not there is one line before anything is made; a cluster that dies ends the search."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from flexsearch.errors import UserError
from flexsearch.study import ray_address, ray_tune
from flexsearch.study.executor import choose_executor
from flexsearch.study.ray_address import check_cluster, cluster_address
from flexsearch.study.ray_tune import _muted, _num_fitting, _watched_nodes, ray_session
from flexsearch.study.settings import Resources


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("form", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "127.0.0.1:99999"])
def test_where_nobody_answers(form: str) -> None:
    with pytest.raises(UserError, match=r"^--ray-address: nobody answers at '.*127\.0\.0\.1:\d+' \("):
        check_cluster(form.format(port=closed_port()))


def test_the_environment_is_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port()}")
    with pytest.raises(UserError, match=r"^RAY_ADDRESS: nobody answers"):
        check_cluster(None)
    monkeypatch.delenv("RAY_ADDRESS")
    check_cluster(None)


def test_on_a_cluster_of_the_environment_as_many_run_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slots of this machine say nothing of it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert cluster_address(None) is None
    assert choose_executor("ray", Resources(cpu=1)).slots is not None
    assert choose_executor("ray", Resources(cpu=1), address="10.0.0.1:6379").slots is None
    for address, slots_known, executor in (("10.0.0.1:6379", False, "ray"), ("local", True, None), ("", True, None)):
        monkeypatch.setenv("RAY_ADDRESS", address)
        for name in ("ray", "auto"):
            choice = choose_executor(name, Resources(cpu=1))  # type: ignore[arg-type]
            assert (choice.slots is not None) == slots_known
            assert executor in (None, choice.name)
        assert choose_executor("local", Resources(cpu=1)).name == "local"


def test_a_ray_that_was_imported_unguarded_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray reads its environment when it is imported; one that the caller has started is the caller's."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ray_tune, "QUIET", {})
    monkeypatch.setattr(ray_tune, "_ALONE", {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"})
    started = iter([False, True])
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: next(started)))
    with pytest.raises(UserError, match=r"^ray: was imported before"), ray_session(None):
        pass
    monkeypatch.delenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    with ray_session(None):
        assert "RAY_AUTH_MODE" not in os.environ


def test_what_guards_a_ray_of_our_own_is_set_before_it_is_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    guards = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    for name in (*guards, "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(ray_tune, "QUIET", {})
    (tmp_path / "ray.py").write_text("import os\nseen = dict(os.environ)\ndef is_initialized():\n    return True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "ray")
    with ray_session(None):
        assert guards.items() <= sys.modules["ray"].seen.items()


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray raises a bare Exception where it is killed or slow while it starts."""

    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nmore")

    fake = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", fake)
    for name, value in {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(UserError, match=r"Ray could not be reached or started \(The current node timed out .* more\)$"),
        ray_session(None),
    ):
        pass


def test_tune_is_silent_of_what_is_handled() -> None:
    logger = logging.getLogger("ray.tune.execution.tune_controller")
    with _muted():
        assert not logger.isEnabledFor(logging.CRITICAL)
    assert logger.isEnabledFor(logging.CRITICAL)


@pytest.mark.parametrize(
    ("program", "reason", "within_s"),
    [
        ("import time; time.sleep(60)", "no answer in", 1.5),
        ("raise SystemExit('no token found')", "no token found", 300.0),
    ],
    ids=["silent", "refuses"],
)
def test_whoever_answers_and_is_no_cluster_of_ours(
    monkeypatch: pytest.MonkeyPatch, program: str, reason: str, within_s: float
) -> None:
    monkeypatch.setattr(ray_address, "_PROBE", program)
    monkeypatch.setattr(ray_address, "_SHUT_WITHIN_S", within_s)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(UserError, match=rf"no Ray cluster takes us .*{reason}.*RAY_AUTH_MODE=token"),
    ):
        check_cluster(f"127.0.0.1:{server.getsockname()[1]}")


def wait_in_turns() -> None:
    """Wait a minute as Ray does: the interrupt does not wake a sleep."""
    for _ in range(6000):
        time.sleep(0.01)


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["a terminal", "in the background"])
def interrupted(request: pytest.FixtureRequest) -> Iterator[None]:
    """What an interrupt does: programs that a shell starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupted")
def test_a_cluster_without_a_living_node_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_tune, "_LOOK_EVERY_S", 0.01)
    seen = iter([True, False, True, False, False])
    with (
        pytest.raises(UserError, match="no node of Ray's that could run a trial is alive any more"),
        _watched_nodes(lambda: next(seen)),
    ):
        wait_in_turns()
    with pytest.raises(KeyboardInterrupt), _watched_nodes(lambda: True):
        raise KeyboardInterrupt


@pytest.mark.usefixtures("interrupted")
@pytest.mark.parametrize("kind", ["raises", "says nothing"])
def test_a_head_that_is_gone_ends_the_wait(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(ray_tune, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(ray_tune, "_ANSWERS_WITHIN_S", 0.05)
    over = threading.Event()

    def living() -> bool:
        if kind == "raises":
            raise RuntimeError("failed to connect to GCS")
        return over.wait(60)

    for work in (wait_in_turns, lambda: 1 / 0):
        with pytest.raises(UserError, match="alive any more"), _watched_nodes(living):
            work()
    over.set()
    with pytest.raises(ZeroDivisionError), _watched_nodes(lambda: True):
        _ = 1 / 0


def test_a_trial_fits_on_one_node_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """What several nodes have together is of no use to it; a head without CPUs, or a node that is lost, has nothing."""
    nodes = [{"CPU": 0.0}, {"CPU": 3.0}, {"CPU": 3.0, "GPU": 1.0}]
    known = [{"Alive": True, "Resources": one} for one in nodes] + [{"Alive": False, "Resources": {"CPU": 64.0}}]
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(nodes=lambda: known))
    assert _num_fitting(Resources(cpu=1)) == 6
    assert _num_fitting(Resources(cpu=2)) == 2
    assert _num_fitting(Resources(cpu=2, gpu=1)) == 1
    assert _num_fitting(Resources(cpu=4)) == 0
    assert _num_fitting(Resources(cpu=1, gpu=2)) == 0
