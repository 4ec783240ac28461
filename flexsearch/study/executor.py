"""Executors of trials: what they ask of a source of trials, the one that runs them in this process, and the choice."""

import os
import traceback
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from flexsearch.errors import UserError
from flexsearch.extras import install, is_installed, require
from flexsearch.files import disk_fault, write_atomically
from flexsearch.study.ray_address import cluster_address
from flexsearch.study.settings import Resources
from flexsearch.trial.contract import Progress, RunTrial, TrialOrder, TrialResult

CORES_WORTH_RAY = 4

ExecutorName = Literal["auto", "local", "ray"]


@dataclass(frozen=True)
class Wait:
    """Tell that nothing can start before a running trial ends."""


@dataclass(frozen=True)
class Finished:
    """Tell that nothing will start any more; `is_failure` where errors are the reason."""

    reason: str
    is_failure: bool = False


class TrialSource(Protocol):
    """Hand out trials and take their results. Lives in the driver process."""

    def next(self) -> TrialOrder | Wait | Finished:
        """Give the next trial to run; it counts as running until one of the calls below."""

    def progressed(self, number: int, progress: Progress) -> bool:
        """Take where a running trial is; at a rung, False ends it, and `finished` takes `progress.so_far`."""

    def finished(self, number: int, result: TrialResult) -> None:
        """Take the result of a trial."""

    def crashed(self, number: int, reason: str) -> None:
        """Take the error of a trial."""

    def interrupted(self, number: int) -> None:
        """Take back a trial that lost its worker."""


def crash(order: TrialOrder, error: Exception) -> str:
    """Say how a trial failed, and leave the traceback in its `error.log`. Call it where the error is handled.

    Raises:
        UserError: it was no fault of the trial's: the disk is full, or cannot be written.
    """
    log, reason = order.trial_dir / "error.log", disk_fault(error)
    if reason is not None:
        raise UserError(
            f"cannot be written ({reason}); mend it, and the same command goes on", field=str(order.run_dir)
        ) from error
    write_atomically(log, traceback.format_exc())
    return f"{type(error).__name__}: {error} (see {log})"


def run_locally(search: TrialSource, run_trial: RunTrial) -> Finished:
    """Run trials one after the other, in this process, until the source is finished; return why it is.

    An error in a trial fails that trial and is written to its `error.log`. What the user can mend, and an interrupt,
    end the search; the trial then counts as running and is adopted on resume.
    """
    while True:
        order = search.next()
        if isinstance(order, Finished):
            return order
        assert not isinstance(order, Wait), "in one process nothing runs between two trials"
        number = order.number
        try:
            result = run_trial(order, partial(search.progressed, number))
        except (UserError, KeyboardInterrupt):
            raise
        except Exception as error:
            search.crashed(number, crash(order, error))
        else:
            search.finished(number, result)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The executor, how many trials it runs at once, and why; on a cluster `slots` is None: as many as fit."""

    name: Literal["local", "ray"]
    slots: int | None
    reason: str


def num_gpus() -> int:
    """Count the GPUs of this machine that torch can use."""
    import torch

    return torch.cuda.device_count()


def slots_here(resources: Resources) -> int:
    """Count the trials that fit on this machine at once."""
    by_cpu = int((os.cpu_count() or 1) // max(resources.cpu, 1))
    return max(1, min(by_cpu, int(num_gpus() // resources.gpu)) if resources.gpu else by_cpu)


def choose_executor(name: ExecutorName, resources: Resources, *, address: str | None = None) -> Choice:
    """Choose the executor. `auto` is Ray where it is installed and two or more trials fit at once, on GPUs or on many
    CPU cores; and where RAY_ADDRESS names a cluster.

    On a few CPU cores one trial with all of them is as fast as several with one each, and Ray's start costs a minute
    (experiments/LOG.md, 2026-11-23).

    Raises:
        UserError: Ray is asked for and not installed.
    """
    cluster = cluster_address(address)
    if name == "ray" or address is not None:
        require("ray", field="--executor", nearest="local")
        return Choice(name="ray", slots=None if cluster else slots_here(resources), reason="as asked")
    if name == "local":
        return Choice(name="local", slots=1, reason="as asked")
    if cluster and is_installed("ray"):
        return Choice(name="ray", slots=None, reason="RAY_ADDRESS names a cluster")
    slots = slots_here(resources)
    if slots < 2:
        return Choice(name="local", slots=1, reason="one trial at a time fits on this machine")
    if not resources.gpu and (os.cpu_count() or 1) < CORES_WORTH_RAY:
        return Choice(name="local", slots=1, reason=f"below {CORES_WORTH_RAY} CPU cores one trial with all is as fast")
    if not is_installed("ray"):
        reason = f"ray, which would run {slots} at once, is not installed; {install('ray')}"
        return Choice(name="local", slots=1, reason=reason)
    return Choice(name="ray", slots=slots, reason=f"{slots} trials fit on this machine at once")
