"""Keep what nothing else dominates: the one way to a Pareto front. Dominance is moocore's."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import moocore
import numpy as np

Item = TypeVar("Item")


def non_dominated(items: Iterable[Item], key: Callable[[Item], Sequence[float]]) -> list[Item]:
    """Keep the items that no other dominates, in their order; of equal ones the first.

    Args:
        items: any values.
        key: the objectives of an item, all minimised.
    """
    items = list(items)
    if not items:
        return []
    is_best = moocore.is_nondominated(np.array([key(item) for item in items], dtype=float))
    return [item for item, is_good in zip(items, is_best, strict=True) if is_good]
