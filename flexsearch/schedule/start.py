"""The first step without a model call: at high noise, what the model says follows from mean and covariance of the data.

Noise says nothing of the data, so at diffusion time 1 the best prediction of clean data is their mean under the
condition (`mean`). Below it, the best prediction is still close to that for normally distributed data of the same mean
and covariance, whose path from noise to data is known in closed form (arXiv 2412.09726, "analytical teleportation"):
`gaussian` takes the whole first step along it. A model of class labels has one mean per label, which the dense base
tells once and for all (`flexsearch.diffusion.data_gaussian`). Text has too many conditions for that.
"""

from collections.abc import Sequence
from typing import Literal

from flexsearch.errors import UserError
from flexsearch.schedule.role import HashedOnce
from flexsearch.schedule.shape import TransformerShape
from flexsearch.schedule.step import Graph, Step

Start = Literal["model", "mean", "gaussian"]
"""What gives the output of the first step: a model call, the data mean, or the data's mean and covariance."""

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
        raise UserError(f"is {start}, but this base reads text; only class labels have a mean each", field="start")
    if first.time < _PURE_NOISE:
        raise UserError(
            f"is {start}, which needs pure noise at the first step, but its diffusion time is {first.time:g}",
            field="start",
            nearest="model",
        )
    if not others:
        raise UserError(f"must be at least 2 where start is {start}, but got 1", field="sampler_steps", nearest=2)
    graph = Graph(stage=first.graph.stage, route=HashedOnce(()), rows=first.graph.rows, reuses=start)
    return [first._replace(graph=graph), *others]
