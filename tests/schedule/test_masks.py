"""Planned masks: dynamic programming against every mask there is."""

from itertools import combinations

import numpy as np
import pytest

from flexsearch.schedule.masks import mask_cost, planned_masks


def random_costs(num: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((num, num, num))


@pytest.mark.parametrize("seed", range(3))
def test_no_mask_of_its_budget_costs_less(seed: int) -> None:
    num, costs = 8, random_costs(8, seed)
    planned = planned_masks(costs)
    assert list(planned) == list(range(1, num + 1))
    for num_full, pattern in planned.items():
        every = [
            "".join("F" if step == 0 or step in chosen else "p" for step in range(num))
            for chosen in combinations(range(1, num), num_full - 1)
        ]
        assert pattern.count("F") == num_full
        assert mask_cost(pattern, costs) == pytest.approx(min(mask_cost(one, costs) for one in every))


def test_the_cost_of_a_mask_is_that_of_its_reuse() -> None:
    costs = random_costs(5, 0)
    assert mask_cost("FFFFF", costs) == 0
    assert mask_cost("Fppp", costs[:4, :4, :4]) == pytest.approx(costs[0, 0, 1:4].sum())
    assert mask_cost("FFpFp", costs) == pytest.approx(costs[0, 1, 2] + costs[1, 3, 4])
