"""Which executor runs the trials."""

import importlib.util
import os
from dataclasses import dataclass
from typing import Literal

from flexsearch.errors import UserError
from flexsearch.study.settings import Resources

CORES_WORTH_RAY = 4

ExecutorName = Literal["auto", "local", "ray"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The executor, how many trials it runs at once on this machine, and why."""

    name: Literal["local", "ray"]
    slots: int
    reason: str


def num_gpus() -> int:
    """GPUs of this machine that torch can use."""
    import torch

    return torch.cuda.device_count()


def slots_here(resources: Resources) -> int:
    """How many trials fit on this machine at once."""
    by_cpu = int((os.cpu_count() or 1) // max(resources.cpu, 1))
    return max(1, min(by_cpu, int(num_gpus() // resources.gpu)) if resources.gpu else by_cpu)


def choose_executor(name: ExecutorName, resources: Resources, *, address: str | None = None) -> Choice:
    """`auto` is Ray where it is installed and helps: two or more trials fit at once, on GPUs or on many CPU cores.

    On a few CPU cores one trial with all of them is as fast as several with one each, and Ray's start costs a minute
    (experiments/LOG.md, 2026-11-23).

    Raises:
        UserError: Ray is asked for and not installed.
    """
    has_ray = importlib.util.find_spec("ray") is not None
    if name == "ray" or address is not None:
        if not has_ray:
            raise UserError("ray is not installed: pip install 'ray[tune]'", field="--executor", nearest="local")
        return Choice(name="ray", slots=slots_here(resources), reason="as asked")
    if name == "local":
        return Choice(name="local", slots=1, reason="as asked")
    if not has_ray:
        return Choice(name="local", slots=1, reason="ray is not installed")
    slots = slots_here(resources)
    if slots < 2:
        return Choice(name="local", slots=1, reason="one trial at a time fits on this machine")
    if not resources.gpu and (os.cpu_count() or 1) < CORES_WORTH_RAY:
        return Choice(name="local", slots=1, reason=f"below {CORES_WORTH_RAY} CPU cores one trial with all is as fast")
    return Choice(name="ray", slots=slots, reason=f"{slots} trials fit on this machine at once")
