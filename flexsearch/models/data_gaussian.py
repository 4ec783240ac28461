"""Mean and covariance of the data of a base, kept beside its weights.

Data under label k are taken for normally distributed with mean `means[k]` and one covariance: `variances[i]` along
`directions[i]`, and `variances[-1]` along every other.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from flexsearch.schedule.shape import TransformerShape


@dataclass(frozen=True, kw_only=True)
class DataGaussian:
    """Mean and covariance of the data, in model units. Letters: K labels, R directions, C channels, H x W data.

    Attributes:
        means: (K + 1, C, H, W), or (K + 1, C, F, H, W) of videos; the last row of "no label".
        directions: (R, C, H, W), each of length 1 and at right angles to the others; R is 0 where only the means are
            known.
        variances: (R + 1,).
    """

    means: Tensor
    directions: Tensor
    variances: Tensor

    @classmethod
    def of_means(cls, means: Tensor) -> Self:
        """Give means alone."""
        return cls(means=means, directions=means[:0], variances=means.new_zeros(1))

    @classmethod
    def zeros(cls, shape: TransformerShape, *, num_directions: int = 0) -> Self:
        """Give what has yet to be loaded or measured, for a base."""
        return cls(
            means=torch.zeros(shape.num_classes + 1, *shape.sample_size),
            directions=torch.zeros(num_directions, *shape.sample_size),
            variances=torch.zeros(num_directions + 1),
        )

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of it, by the names that files have for it."""
        return {f"data_{one.name}": getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: MutableMapping[str, Tensor], prefix: str = "") -> Self:
        """Read `tensors`; means that stand alone, as in folders of earlier versions, are read, too."""
        means = cls.of_means(tensors[f"{prefix}data_means"])
        return cls(
            **{one.name: tensors.get(f"{prefix}data_{one.name}", getattr(means, one.name)) for one in fields(cls)}
        )

    def spread(self, noise: Tensor, factors: Tensor) -> Tensor:
        """Scale noise (B, C, H, W) by the first R of (R + 1,) factors along the directions, by the last elsewhere."""
        directions = self.directions.flatten(1).float()
        along = (noise.flatten(1) @ directions.T) * (factors[:-1] - factors[-1])
        return factors[-1] * noise + (along @ directions).view_as(noise)


DATA_TENSORS = tuple(f"data_{one.name}" for one in fields(DataGaussian))
"""Names of its tensors in files and among a model's buffers."""
