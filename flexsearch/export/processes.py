"""The processes that train together, as accelerate started them: the only file that imports accelerate.

Weights are whole in every process and gradients are summed by `Share`, not by torch's DistributedDataParallel: which
weights an update uses depends on its stage, and sums of parts are then the same for any number of processes.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import accelerate
import accelerate.utils
import torch
from accelerate.utils import DistributedType, InitProcessGroupKwargs
from torch import Tensor

from flexsearch.diffusion.share import Share
from flexsearch.errors import UserError
from flexsearch.extras import require

T = TypeVar("T")

_LONGEST_WAIT = timedelta(hours=24)  # for a download, a first pass over the real images, or a checkpoint being written
_HAS_PEERS = ("LOCAL_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")  # torchrun's, and MPI's
_ALIKE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


class Processes:
    """This process and its peers.

    Args:
        log: "none", "tensorboard" or "wandb".
        out: folder of the run; logs go below it.

    Attributes:
        accelerator: accelerate's own, for what needs nothing of ours: to wait, and to log.

    Raises:
        UserError: `log` names a library that is not installed, or accelerate was told to start what it does not.
    """

    def __init__(self, *, log: str = "none", out: Path = Path()) -> None:
        if log != "none":
            require(log, field="training.log", nearest="none")
        launched = {"MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"} <= set(os.environ)
        if launched and not any(name in os.environ for name in _HAS_PEERS):
            # `accelerate launch --cpu --num_processes 2` starts one process, which would train alone without a word.
            raise UserError(
                "accelerate started one process where several were asked for, as it does on CPUs without MPI",
                field="accelerate launch",
                nearest="accelerate launch --multi_gpu --num_processes 2 -m flexsearch train RECIPE",
            )
        self.accelerator = accelerate.Accelerator(
            cpu=not torch.cuda.is_available(),
            log_with=None if log == "none" else log,
            project_dir=str(out / "logs"),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=_LONGEST_WAIT)],
        )
        kind = self.accelerator.distributed_type
        if kind not in _ALIKE:
            raise UserError(
                f"accelerate must start processes that hold the whole model, but is set up for {kind.value}",
                field="accelerate launch",
                nearest="--multi_gpu",
            )

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return bool(self.accelerator.is_main_process)

    @property
    def num(self) -> int:
        return int(self.accelerator.num_processes)

    def __str__(self) -> str:
        """Say such as "2 processes on cpu"."""
        return f"{self.num} process{'es' if self.num > 1 else ''} on {self.accelerator.device.type}"

    def share(self, num_parts: int) -> Share:
        """Give this process's share of every batch, in `num_parts` parts."""
        return Share(
            rank=self.accelerator.process_index,
            num_processes=self.num,
            num_parts=num_parts,
            sum_over_processes=self._sum,
        )

    def _sum(self, values: Tensor) -> Tensor:
        summed: Tensor = self.accelerator.reduce(values.to(self.accelerator.device), reduction="sum")
        return summed

    def gathered(self, here: list[T]) -> list[T]:
        """Gather the items of every process, in the processes' order."""
        found: list[T] = accelerate.utils.gather_object(here) if self.num > 1 else here
        return found
