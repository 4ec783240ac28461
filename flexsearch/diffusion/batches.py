"""The training stream: batch `u` is a function of the seed and `u` alone.

Two runs with one seed see the same images, conditions, times and noise in the same order, whatever schedule they train;
a run that resumes at update `u` goes on with the very batch that it would have seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from flexsearch.data.conditions import Condition
from flexsearch.data.source import DataSource
from flexsearch.diffusion.timesteps import stage_homogeneous_times
from flexsearch.seeds import item_seed


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One training batch, or its rows from `start`. Some rows of the condition are "no condition" (classifier-free
    guidance)."""

    clean: Tensor  # (B, C, H, W), or (B, C, F, H, W) of videos
    condition: Condition
    noise: Tensor  # like `clean`
    time: Tensor  # (B,) in [0, 1)
    start: int = 0

    def to(self, device: torch.device | str) -> "Batch":
        return replace(
            self,
            clean=self.clean.to(device, non_blocking=True),
            condition={name: value.to(device, non_blocking=True) for name, value in self.condition.items()},
            noise=self.noise.to(device, non_blocking=True),
            time=self.time.to(device, non_blocking=True),
        )

    def rows(self, chosen: slice) -> "Batch":
        """Some of its examples."""
        return Batch(
            clean=self.clean[chosen],
            condition={name: value[chosen] for name, value in self.condition.items()},
            noise=self.noise[chosen],
            time=self.time[chosen],
            start=self.start + (chosen.start or 0),
        )


class Stream(Protocol):
    """All batches of a training run: batch `u` is a function of what the stream is and of `u` alone."""

    @property
    def batch(self) -> int:
        """Examples per batch."""

    def at(self, update: int, rows: slice = slice(None)) -> Batch:
        """Give the batch of update `update`, from 0, or some rows of it."""


@dataclass(frozen=True, kw_only=True)
class BatchStream:
    """All batches of a training run.

    Attributes:
        data: the images or latents.
        batch: examples per batch.
        seed: of order, times, noise and label dropout.
        edges: time bands; every batch stays inside one.
        label_dropout: fraction of conditions replaced by "no condition".
        mirror: flip images left-right with probability one half.
        shift: of the clock of the base's sampler.
        guidance: the scale that the base embeds, of every example; None where it embeds none.
    """

    data: DataSource
    batch: int
    seed: int
    edges: Sequence[float] = (0.0, 1.0)
    label_dropout: float = 0.1
    mirror: bool = False
    shift: float = 1.0
    guidance: float | None = None

    def at(self, update: int, rows: slice = slice(None)) -> Batch:
        """The batch of update `update`, from 0, or some rows of it: only theirs are read."""
        generator = torch.Generator().manual_seed(item_seed(self.seed, update))
        indices = torch.randint(len(self.data), (self.batch,), generator=generator)
        flipped = torch.rand(self.batch, generator=generator) < 0.5 if self.mirror else None
        times, _ = stage_homogeneous_times(update, self.batch, edges=self.edges, generator=generator, shift=self.shift)
        dropped = torch.rand(self.batch, generator=generator) < self.label_dropout
        indices, dropped = indices[rows], dropped[rows]
        clean = self.data.clean(indices)
        noise = torch.randn((self.batch, *clean.shape[1:]), generator=generator)[rows]
        if flipped is not None:
            clean = torch.where(flipped[rows].view(-1, *[1] * (clean.ndim - 1)), clean.flip(-1), clean)
        condition = self._condition(indices, dropped)
        return Batch(clean=clean, condition=condition, noise=noise, time=times[rows], start=rows.start or 0)

    def _condition(self, indices: Tensor, dropped: Tensor) -> Condition:
        given, none = self.data.condition(indices), self.data.conditions.none(len(indices))
        rows = {name: dropped.view(-1, *[1] * (value.ndim - 1)) for name, value in given.items()}
        found = {name: torch.where(rows[name], none[name], value) for name, value in given.items()}
        if self.guidance is not None:
            found["guidance"] = torch.full((len(indices),), self.guidance)
        return found
