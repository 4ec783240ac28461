"""Say how weights are updated. Needs no torch."""

import math
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from flexsearch.settings import Count, PositiveCount, settings


@settings
class Optimisation:
    """How weights are updated.

    Attributes:
        updates: number of optimiser steps.
        batch: examples per update.
        learning_rate: AdamW's peak learning rate.
        decay: "constant" keeps it; "linear" and "cosine" bring it to zero at the last update; "cooldown" keeps it for
            80 % of the updates and then goes linearly to zero (so that a run can be prolonged without starting again).
        warmup: updates over which the learning rate rises linearly from zero.
        weight_decay: AdamW's weight decay.
        max_gradient_norm: gradients are clipped to this norm; None leaves them.
        ema_decay: decay of the averaged weights that are sampled from; the first updates use (1 + u) / (10 + u).
        distillation: weight of the squared distance to the dense base's output; 0 needs no teacher.
        dtype: "fp32", or "bf16" for autocast.
    """

    updates: Count
    batch: PositiveCount = 64
    learning_rate: Annotated[float, Gt(0)] = 1e-4
    decay: Literal["constant", "linear", "cosine", "cooldown"] = "constant"
    warmup: Count = 0
    weight_decay: Annotated[float, Ge(0)] = 0.0
    max_gradient_norm: float | None = 1.0
    ema_decay: Annotated[float, Ge(0), Lt(1)] = 0.9999
    distillation: Annotated[float, Ge(0)] = 0.0
    dtype: Literal["fp32", "bf16"] = "fp32"

    def learning_rate_at(self, update: int) -> float:
        """The learning rate of update `update`, from 0."""
        rate = self.learning_rate
        if update < self.warmup:
            rate *= (update + 1) / (self.warmup + 1)
        done = update / max(self.updates, 1)
        if self.decay == "linear":
            rate *= 1 - done
        elif self.decay == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * done))
        elif self.decay == "cooldown":
            rate *= min(1.0, (1 - done) / 0.2)
        return rate


@settings
class FineTune(Optimisation):
    """The fine-tune of a schedule: an `Optimisation` that is taught by the dense base unless told otherwise."""

    distillation: Annotated[float, Ge(0)] = 1.0
