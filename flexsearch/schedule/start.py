"""The first step: what the model says of pure noise is the mean of the data, which needs no call at every image.

Noise says nothing of the data, so at diffusion time 1 the best prediction of clean data is their mean under the
condition. A model of class labels has one mean per label: a few calls of the dense base give it once and for all
(`flexsearch.diffusion.data_means`), and the first of n model calls is saved. Text has too many conditions for that.
"""

from collections.abc import Sequence
from typing import Literal

from flexsearch.errors import UserError
from flexsearch.schedule.role import HashedOnce
from flexsearch.schedule.shape import TransformerShape
from flexsearch.schedule.step import Graph, Step

Start = Literal["model", "mean"]
"""What gives the output of the first step: a model call, or the data mean."""

_PURE_NOISE = 0.99
"""Least diffusion time at which a sample is taken for pure noise: signals are below a hundredth of it there."""


def started(steps: Sequence[Step], start: Start, shape: TransformerShape) -> list[Step]:
    """Say what the first of some steps computes.

    Raises:
        UserError: the mean cannot take the place of the first step.
    """
    first, *others = steps
    if start == "model":
        return [first, *others]
    if shape.num_classes == 0:
        raise UserError("is mean, but this base reads text; only class labels have one each", field="start")
    if first.time < _PURE_NOISE:
        raise UserError(
            f"is mean, which needs pure noise at the first step, but its diffusion time is {first.time:g}",
            field="start",
            nearest="model",
        )
    if not others:
        raise UserError("must be at least 2 where start is mean, but got 1", field="sampler_steps", nearest=2)
    graph = Graph(stage=first.graph.stage, route=HashedOnce(()), rows=first.graph.rows, reuses="mean")
    return [first._replace(graph=graph), *others]
