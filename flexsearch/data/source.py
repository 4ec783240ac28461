"""What training reads, wherever it comes from."""

from typing import Protocol

from torch import Tensor

from flexsearch.data.conditions import Condition, Conditions


class DataSource(Protocol):
    """What training reads: clean data in model units with what they are conditioned on."""

    @property
    def conditions(self) -> Conditions:
        """The conditions of generated images, and "no condition"."""

    def __len__(self) -> int: ...

    def clean(self, indices: Tensor) -> Tensor:
        """(B, C, H, W), or (B, C, F, H, W) of videos, float32 data at `indices` (B,)."""

    def condition(self, indices: Tensor) -> Condition:
        """What the data at `indices` (B,) are conditioned on."""
