"""Data with class labels: the part that images and latents share as a `DataSource`."""

from torch import Tensor

from flexsearch.data.conditions import ClassConditions, Condition


class Labelled:
    """Base of data sources with one label per item.

    Attributes:
        labels: (N,) int64 class labels.
        num_classes: labels are below this.
    """

    labels: Tensor
    num_classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def conditions(self) -> ClassConditions:
        """Class labels in turn, and "no label"."""
        return ClassConditions(num_classes=self.num_classes)

    def condition(self, indices: Tensor) -> Condition:
        """The labels of the items at `indices` (B,)."""
        return self.conditions.of_labels(self.labels[indices])
