"""Planned masks: which steps to compute in full, for every budget, from what reuse between any steps would cost.

Source of the idea: DPCache (arXiv 2602.22654), whose abstract names a cost tensor and dynamic programming. What the
costs are, and that they are exact for one reuse at a time, is ours: `flexsearch.diffusion.calibration`.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

Costs = Sequence[Sequence[Sequence[float]]]
"""(S, S, S): of reuse at step k from full steps i < j, or i = j where j is the only one before."""
Masks = Mapping[int, Mapping[int, str]]
"""By sampler steps and number of full steps: the pattern, such as FFpFpp."""


def mask_cost(pattern: str, costs: Costs) -> float:
    """Sum what a pattern's reuse costs.

    Args:
        pattern: a letter per step; all but F reuse.
        costs: of reuse.
    """
    total, before, last = 0.0, -1, -1
    for step, letter in enumerate(pattern):
        if letter == "F":
            before, last = (step if last < 0 else last), step
        else:
            total += costs[before][last][step]
    return total


def planned_masks(costs: Costs) -> dict[int, str]:
    """Find the pattern of least cost for every number of full steps, by dynamic programming over the last two.

    Args:
        costs: of reuse; what is reused is extrapolated through two full steps once there are two.

    Returns:
        By number of full steps, from 1: the pattern of full steps F and partial ones p.
    """
    num = len(costs)
    sums = [[list(accumulate(steps, initial=0.0)) for steps in of_before] for of_before in costs]

    def between(before: int, last: int, until: int) -> float:
        """Cost of all steps after `last` and before `until`."""
        return sums[before][last][until] - sums[before][last][last + 1]

    # by the last two full steps: the least cost so far, and the full steps
    best: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {(0, 0): (0.0, (0,))}
    found: dict[int, str] = {}
    for num_full in range(1, num + 1):
        cost, steps = min((cost + between(*pair, num), steps) for pair, (cost, steps) in best.items())
        found[num_full] = "".join("F" if step in steps else "p" for step in range(num))
        longer: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
        for (before, last), (cost, steps) in best.items():
            for new in range(last + 1, num):
                candidate = (cost + between(before, last, new), (*steps, new))
                if (last, new) not in longer or candidate < longer[last, new]:
                    longer[last, new] = candidate
        best = longer
    return found
