"""Say which trials a model learns from: few of many, so that a decision takes no longer the more trials there are."""

import numpy as np

from flexsearch.study.evenly import evenly
from flexsearch.study.pareto import dominance_ranks

MOST_KNOWN = 256
"""Complete trials that a model learns from. A Gaussian process takes the cube of their number, and of what more would
tell, most is of schedules that are not good."""


def most_telling(values: np.ndarray, num: int = MOST_KNOWN) -> list[int]:
    """Pick at most `num` trials and give their indices, rising.

    One half are the best by dominance rank, and of equal rank the latest; the other is spread evenly over the rest,
    which say what is not good.

    Args:
        values: (N, M) objectives of the trials, in the order of their numbers; all are minimised.
        num: how many; where there are not more, all are taken.
    """
    if len(values) <= num:
        return list(range(len(values)))
    order = np.lexsort((-np.arange(len(values)), dominance_ranks(values))).tolist()
    return sorted([*order[: num // 2], *evenly(sorted(order[num // 2 :]), num - num // 2)])
