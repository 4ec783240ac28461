"""Train a schedule through its sampler: what it draws in few steps is compared with the dense base's sample from the
same noise and for the same condition.

Source: Luhman & Luhman 2021 (arXiv 2101.02388), there for one step; here for every number of steps in turn. Trained so,
a model need not be right at every time, only where the sampler calls it, and may make up at one call for another.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from flexsearch.data.conditions import Conditions
from flexsearch.diffusion.batches import Batch
from flexsearch.diffusion.sampling import initial_noise
from flexsearch.diffusion.training import Training


@dataclass(frozen=True, kw_only=True)
class SampleStream:
    """Batches of the base's samples: batch `u` goes on where batch `u - 1` ended.

    Attributes:
        samples: gives the base's samples of images with these indices, (B, C, H, W) or (B, C, F, H, W) in model units.
        num: of images, after which it begins again; None goes on for ever.
        conditions: image i has the one of index i.
        batch: examples per batch.
        seed: of the noise that the base began with.
    """

    samples: Callable[[Sequence[int]], Tensor]
    num: int | None
    conditions: Conditions
    batch: int
    seed: int

    def at(self, update: int, rows: slice = slice(None)) -> Batch:
        """Give the batch of update `update`, from 0, or some rows of it."""
        every = range(update * self.batch, (update + 1) * self.batch)[rows]
        indices = [index if self.num is None else index % self.num for index in every]
        clean = self.samples(indices)
        return Batch(
            clean=clean,
            condition=self.conditions.of_samples(indices),
            noise=initial_noise(indices, shape=clean.shape[1:], seed=self.seed),
            time=clean.new_ones(len(indices)),
        )


class SampleDistillation(Training):
    """The same loop; the loss is the mean squared distance of samples.

    Args:
        draws: `(model, noise, condition) -> (B, C, ...)` with gradients; update `u` takes the one of index
            `u % len(draws)`.
        rest: of `Training`; its `stream` gives the base's samples.
    """

    def __init__(self, model: nn.Module, *, draws: Sequence[Callable[[nn.Module, Batch], Tensor]], **rest: Any) -> None:
        super().__init__(model, **rest)
        self._draws = draws

    def loss(self, update: int, batch: Batch) -> Tensor:
        """Mean squared distance to the base's samples over the batch."""
        drawn = self._draws[update % len(self._draws)](self.model, batch)
        return (drawn - batch.clean).square().mean()
