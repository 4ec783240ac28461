"""What training reads, wherever it comes from."""

from typing import Protocol

from torch import Tensor


class DataSource(Protocol):
    """What training reads: (N, C, H, W) clean data in model units with class labels."""

    @property
    def num_classes(self) -> int:
        """Labels are below this."""

    def __len__(self) -> int: ...

    def clean(self, indices: Tensor) -> Tensor:
        """(B, C, H, W) float32 data at `indices` (B,)."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64 class labels."""
