"""The interface of training data."""

from typing import Protocol

from torch import Tensor

from flexsearch.data.conditions import Condition, Conditions


class DataSource(Protocol):
    """Training data: clean data in model units, with conditions."""

    @property
    def conditions(self) -> Conditions:
        """The conditions of generated images, and "no condition"."""

    @property
    def digest(self) -> str:
        """Identifies the contents, on every machine alike."""

    def __len__(self) -> int: ...

    def clean(self, indices: Tensor) -> Tensor:
        """Read the float32 data at `indices` (B,): (B, C, H, W), or (B, C, F, H, W) of videos."""

    def condition(self, indices: Tensor) -> Condition:
        """Read the conditions of the data at `indices` (B,)."""
