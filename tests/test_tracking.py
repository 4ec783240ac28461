"""Trackers get every number of a run, with its step. Weights & Biases and MLflow are stand-ins here."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from flexsearch.errors import UserError
from flexsearch.tracking import TrackerName, check_tracker, open_tracker

Sent = list[tuple[str, float, int]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What arrives at any of the three."""
    found: Sent = []

    def add(name: str, value: float, step: int) -> None:
        found.append((name, value, step))

    class Writer:
        def __init__(self, folder: str) -> None:
            Path(folder).mkdir(parents=True)

        def add_scalar(self, name: str, value: float, global_step: int) -> None:
            add(name, value, global_step)

        add_text = flush = close = lambda *_: None

    class Client:
        def create_run(self, experiment: str) -> Any:
            return SimpleNamespace(info=SimpleNamespace(run_id=f"run of {experiment}"))

        def log_metric(self, run: str, name: str, value: float, step: int) -> None:
            assert run == "run of mine"
            add(name, value, step)

        log_param = set_terminated = lambda *_: None

    run = SimpleNamespace(
        log=lambda values, step: [add(name, value, step) for name, value in values.items()], finish=lambda: None
    )
    for name, content in (
        ("torch.utils.tensorboard", {"SummaryWriter": Writer}),
        ("wandb", {"init": lambda **_: run}),
        ("mlflow", {"MlflowClient": Client, "set_experiment": lambda title: SimpleNamespace(experiment_id=title)}),
    ):
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return found


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow", "none"])
def test_numbers_arrive_with_their_step(name: TrackerName, sent: Sent, tmp_path: Path) -> None:
    tracker = open_tracker(name, folder=tmp_path / "logs", title="mine", about={"base": "x"})
    tracker.log({"fid": 3.0, "latency_ms": 2.0}, step=7)
    tracker.close()
    assert sent == ([] if name == "none" else [("fid", 3.0, 7), ("latency_ms", 2.0, 7)])


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r'search\.log: mlflow is not installed; pip install "flexsearch\[mlflow\]"'):
        check_tracker("mlflow", field="search.log")
    check_tracker("none", field="search.log")
