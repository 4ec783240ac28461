"""Say which part of every batch this process computes, and how gradients become those of the whole batch.

The whole batch is a function of the seed and the update alone. Process `r` of `W` takes a contiguous `1/W` of its rows,
in `num_parts` equal parts one after another (gradient accumulation), each weighted by its share. So the loss curve
depends on neither number, but for the order of sums. All of a batch lies in one time band (arXiv 2412.06028, section
3.3): every process computes the same static shapes in an update, and none waits for another.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flexsearch.diffusion.batches import Batch
from flexsearch.errors import UserError

_REDUCED_TOGETHER = 1 << 24  # elements per message: long enough for bandwidth, short enough to take little memory


def _as_it_is(values: Tensor) -> Tensor:
    return values


@dataclass(frozen=True, kw_only=True)
class Share:
    """The share of one process.

    Attributes:
        rank: of this process, from 0.
        num_processes: that train together.
        num_parts: forward and backward passes per update and process.
        sum_over_processes: gives every process the sum of one tensor over all of them.
    """

    rank: int = 0
    num_processes: int = 1
    num_parts: int = 1
    sum_over_processes: Callable[[Tensor], Tensor] = _as_it_is

    def check(self, batch: int) -> None:
        """Tell whether a batch can be shared out.

        Raises:
            UserError: `batch` is not a multiple of processes times parts; names the nearest that is.
        """
        unit = self.num_processes * self.num_parts
        if batch % unit:
            nearest = max(unit, (batch + unit // 2) // unit * unit)
            rule = f"must be a multiple of {self.num_processes} processes x {self.num_parts} parts, but got {batch}"
            raise UserError(rule, field="training.batch", nearest=nearest)

    def rows(self, batch: int) -> slice:
        """The rows of a batch that this process computes."""
        size = batch // self.num_processes
        return slice(self.rank * size, (self.rank + 1) * size)

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """This process's rows, part by part."""
        size = len(batch.time) // self.num_parts
        for start in range(0, size * self.num_parts, size):
            yield batch.rows(slice(start, start + size))

    def halved(self, batch: int) -> "Share | None":
        """Give the share in parts half as large; None where the parts of a batch cannot be halved."""
        parts = 2 * self.num_parts
        return None if batch % (self.num_processes * parts) else replace(self, num_parts=parts)

    @property
    def weight(self) -> float:
        """Of one part's mean in the mean over the whole batch."""
        return 1 / (self.num_processes * self.num_parts)

    def sum_in_place(self, tensors: Sequence[Tensor]) -> None:
        """Replaces float32 tensors by their sums over all processes, in few messages."""
        if self.num_processes == 1:
            return
        group: list[Tensor] = []
        for index, tensor in enumerate(tensors):
            group.append(tensor)
            is_last = index == len(tensors) - 1
            if is_last or sum(one.numel() for one in group) >= _REDUCED_TOGETHER:
                summed = self.sum_over_processes(torch.cat([one.reshape(-1) for one in group]))
                for one, values in zip(group, summed.split([one.numel() for one in group]), strict=True):
                    one.copy_(values.view_as(one))
                group = []

    def any_process(self, here: bool) -> bool:
        """Tell whether `here` is true in any of the processes: all of them must ask."""
        if self.num_processes == 1:
            return here
        return bool(self.sum_over_processes(torch.tensor(float(here))).item())
