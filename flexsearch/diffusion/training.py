"""One optimiser loop for every kind of training: a dense base, the warm start, a trial, an exported recipe.

What differs between them is passed in: the batches, the schedule that is active at an update, the teacher.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from flexsearch.diffusion.batches import Batch, Stream
from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.diffusion.process import DiffusionProcess
from flexsearch.diffusion.share import Share
from flexsearch.errors import Note, NotFiniteError


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one update did. `update` counts the updates done so far, from 1."""

    update: int
    loss: float


class Training:
    """The mutable state of one training run: weights, optimiser, average, and how far it is.

    Args:
        model: called as `model(noisy, model_time, **condition)`, gives an object with `.sample`.
        process: the training objective.
        stream: the batches; batch `u` is used by update `u`.
        optimisation: how weights are updated.
        teacher: `(update, batch, noisy, model_time) -> (B, C, H, W)` the dense base's output, for distillation.
        before_update: called with the update's index and batch before it runs, e.g. to draw a schedule.
        share: of every batch that this process computes; None is the whole batch at once.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        process: DiffusionProcess,
        stream: Stream,
        optimisation: Optimisation,
        teacher: Callable[[int, Batch, Tensor, Tensor], Tensor] | None = None,
        before_update: Callable[[int, Batch], None] | None = None,
        share: Share | None = None,
    ) -> None:
        self.model = model
        self.process = process
        self.stream = stream
        self.optimisation = optimisation
        self.teacher = teacher
        self.before_update = before_update
        self.share = Share() if share is None else share
        self.share.check(stream.batch)
        self.device = next(model.parameters()).device
        self.num_done = 0
        self._has_halved = False
        self.optimizer = torch.optim.AdamW(
            (weight for weight in model.parameters() if weight.requires_grad),
            lr=optimisation.learning_rate,
            weight_decay=optimisation.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        self.average = AveragedModel(model, multi_avg_fn=self._blend)
        self.average.requires_grad_(False)

    def _blend(self, averages: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | int) -> None:
        decay = min(self.optimisation.ema_decay, (1 + self.num_done) / (10 + self.num_done))
        get_ema_multi_avg_fn(decay)(averages, weights, self.num_done)

    @property
    def averaged(self) -> nn.Module:
        """The model with averaged weights: sample from this one."""
        averaged: nn.Module = self.average.module
        return averaged

    def loss(self, update: int, batch: Batch) -> Tensor:
        """Mean loss over the batch, distillation included."""
        noisy = self.process.noisy(batch.clean, batch.noise, batch.time)
        model_time = self.process.model_time(batch.time)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.optimisation.dtype == "bf16"):
            output = self.model(noisy, model_time, **batch.condition).sample
            if self.optimisation.distillation and self.teacher is not None:
                target = self.teacher(update, batch, noisy, model_time)
            else:
                target = None
        loss = self.process.loss(output, clean=batch.clean, noise=batch.noise, time=batch.time)
        if target is not None:
            loss = loss + self.optimisation.distillation * ((output - target).float() ** 2).flatten(1).mean(1)
        return loss.mean()

    def run(self) -> Iterator[Step]:
        """Trains to the last update, from wherever it is, yielding after each one.

        The next batch is made while the device still computes: reading the loss waits for it.

        Raises:
            NotFiniteError: the loss of an update is not finite.
        """
        parameters = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        coming = self._batch_of(self.num_done)
        while coming is not None:
            update, batch = self.num_done, coming
            self.model.train()
            if self.before_update is not None:
                self.before_update(update, batch)
            for group in self.optimizer.param_groups:
                group["lr"] = self.optimisation.learning_rate_at(update)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self._backward(update, batch)
            if self.optimisation.max_gradient_norm is not None:
                nn.utils.clip_grad_norm_(parameters, self.optimisation.max_gradient_norm)
            self.optimizer.step()
            self.average.update_parameters(self.model)
            self.num_done += 1
            coming = self._batch_of(self.num_done)
            step = Step(update=self.num_done, loss=float(loss))
            if not math.isfinite(step.loss):
                raise NotFiniteError(f"the loss is not finite after update {step.update}", field="learning_rate")
            yield step

    def check_weights(self) -> None:
        """Check the averaged weights, which the next loss may be too late to show.

        Raises:
            NotFiniteError: they are not finite.
        """
        if not all(bool(weight.isfinite().all()) for weight in self.average.parameters()):
            raise NotFiniteError(f"the weights are not finite after update {self.num_done}", field="learning_rate")

    def _backward(self, update: int, batch: Batch) -> Tensor:
        """Leaves the gradients of the whole batch's mean loss, and gives that loss, from this process's rows.

        Where the device's memory does not hold a part, parts are half as large from here on, once in a training.
        """
        total = None if self._has_halved else self._if_it_fits(update, batch)
        if total is None:
            total = self._accumulated(update, batch)
        gradients = [weight.grad for weight in self.model.parameters() if weight.grad is not None]
        self.share.sum_in_place([*gradients, total])
        return total

    def _if_it_fits(self, update: int, batch: Batch) -> Tensor | None:
        """Accumulates; None, and half of the share's parts, where memory runs out."""
        try:
            return self._accumulated(update, batch)
        except torch.OutOfMemoryError:
            half = self.share.halved(self.stream.batch)
            if half is None:
                raise
            self.share, self._has_halved = half, True
        self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        size = self.stream.batch // (half.num_processes * half.num_parts)
        warnings.warn(
            f"out of memory at update {update + 1}: {size} examples at a time from here on", Note, stacklevel=2
        )
        return None

    def _accumulated(self, update: int, batch: Batch) -> Tensor:
        """Adds up the gradients of this process's parts; gives their share of the loss."""
        losses = []
        for part in self.share.parts(batch):
            loss = self.loss(update, part) * self.share.weight
            loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _batch_of(self, update: int) -> Batch | None:
        """This process's rows of an update's batch, on their way to the device; None after the last."""
        if update >= self.optimisation.updates:
            return None
        return self.stream.at(update, self.share.rows(self.stream.batch)).to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """All that resuming needs: weights, their averages, the optimiser, how many updates are done."""
        return {
            "num_done": self.num_done,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`."""
        self.num_done = state["num_done"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
