"""Experiment trackers, for searches and trainings: TensorBoard, Weights & Biases, MLflow. Each is an extra."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from flexsearch.extras import require

TrackerName = Literal["none", "tensorboard", "wandb", "mlflow"]


class Tracker:
    """One run of a tracker, whose numbers have a step; this one keeps nothing."""

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        """Send numbers by name."""

    def close(self) -> None:
        """End the run."""


class _TensorBoard(Tracker):
    def __init__(self, folder: Path, title: str, about: Mapping[str, str]) -> None:
        self._writer: Any = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(folder / title))
        self._writer.add_text("about", json.dumps(about))

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, global_step=step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class _Wandb(Tracker):
    def __init__(self, folder: Path, title: str, about: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._run: Any = importlib.import_module("wandb").init(project=title, dir=str(folder), config=dict(about))

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class _Mlflow(Tracker):
    """Where the runs lie is MLflow's own to say (MLFLOW_TRACKING_URI)."""

    def __init__(self, folder: Path, title: str, about: Mapping[str, str]) -> None:
        mlflow = importlib.import_module("mlflow")
        self._client: Any = mlflow.MlflowClient()
        experiment = mlflow.set_experiment(title)
        self._run = self._client.create_run(experiment.experiment_id).info.run_id
        for name, value in about.items():
            self._client.log_param(self._run, name, value)

    def log(self, values: Mapping[str, float], *, step: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        self._client.set_terminated(self._run)


_TRACKERS = {"tensorboard": _TensorBoard, "wandb": _Wandb, "mlflow": _Mlflow}


def check_tracker(name: TrackerName, *, field: str) -> None:
    """Check that a tracker is installed.

    Raises:
        UserError: it is not; blames `field`.
    """
    if name != "none":
        require(name, field=field, nearest="none")


def open_tracker(name: TrackerName, *, folder: Path, title: str, about: Mapping[str, str]) -> Tracker:
    """Begin a run of a tracker.

    Args:
        name: of the tracker; "none" keeps nothing.
        folder: of the files of those that have some.
        title: of the project or experiment.
        about: facts of the run.
    """
    return Tracker() if name == "none" else _TRACKERS[name](folder, title, about)
