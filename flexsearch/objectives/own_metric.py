"""A metric of the user's own as the objective: a function of images and what they were drawn of.

A search minimises positive numbers, and its model of quality takes their logarithms. So of a score that is better the
higher it is, 1 / score is minimised, under the name `inverse_NAME`; the score itself is measured beside it.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from flexsearch.data.conditions import Conditions
from flexsearch.errors import NotFiniteError, UserError
from flexsearch.measurement import Measurement
from flexsearch.user_function import UserFunction


@dataclass(frozen=True, kw_only=True)
class OwnMetric:
    """The function and what it is given.

    Attributes:
        function: called with images (N, C, H, W) uint8, or videos (N, C, F, H, W), and, as far as it takes arguments of
            these names, `labels` (N,) int64 and `prompts`, N texts; gives a number above 0.
        is_maximised: whether more is better.
        conditions: of all generated images, whose labels it is given.
        prompts: all texts, in turn; empty where they are not known.
    """

    function: UserFunction
    is_maximised: bool
    conditions: Conditions
    prompts: Sequence[str] = ()

    @property
    def alone(self) -> "OwnMetric":
        """The objective alone."""
        return self

    def rows(self, images: Tensor, *, batch: int) -> Tensor:
        """Give what is measured of images, row by row: themselves."""
        return images

    def measure(self, rows: Tensor, *, first: int = 0, seed: int = 0) -> list[Measurement]:
        """Measure images; `first` is the index of the first one. The seed of their noise does not matter.

        Raises:
            UserError: the function failed, or gave no number.
            NotFiniteError: it gave one that is not above 0, or not finite.
        """
        found = self.function(rows, **self._described(range(first, first + len(rows))))
        try:
            value = float(found)
        except (TypeError, ValueError):
            raise UserError(
                f"{self.function.where} must give a number, but gave {type(found).__name__}", field=self.function.field
            ) from None
        if not (math.isfinite(value) and value > 0):
            raise NotFiniteError(f"{self.function.where} must give a finite number above 0, but gave {value:g}")
        name = self.function.name
        protocol: dict[str, Any] = {"images": len(rows), **self.function.identity}
        score = Measurement(name=name, value=value, unit="1", protocol=protocol)
        if not self.is_maximised:
            return [score]
        inverse = Measurement(name=f"inverse_{name}", value=1 / value, unit="1", protocol=protocol)
        return [inverse, score]

    def _described(self, indices: Sequence[int]) -> dict[str, Any]:
        """Give what images were drawn of, as far as the function takes it."""
        known: dict[str, Callable[[], Any]] = {
            "labels": lambda: self.conditions.of_samples(indices).get("class_labels"),
            "prompts": lambda: [self.prompts[index % len(self.prompts)] for index in indices] if self.prompts else None,
        }
        taken = inspect.signature(self.function.function).parameters
        return {name: give() for name, give in known.items() if name in taken}
