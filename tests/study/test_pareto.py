"""Non-dominated points equal those found by comparing all pairs."""

import numpy as np
import pytest

from flexsearch.study.pareto import (
    dominance_ranks,
    hypervolume,
    hypervolume_contributions,
    is_non_dominated,
    non_dominated,
)


def by_pairs(values: np.ndarray) -> list[bool]:
    return [not any((other <= own).all() and (other < own).any() for other in values) for own in values]


@pytest.mark.parametrize("num_objectives", [2, 3])
def test_the_mask_equals_brute_force(num_objectives: int) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        values = generator.integers(0, 6, (30, num_objectives)).astype(float)  # ties and equal points among them
        mask = is_non_dominated(values, keep_equal=True)
        assert mask.tolist() == by_pairs(values)
        assert mask.tolist() == (dominance_ranks(values) == 0).tolist()
        once = is_non_dominated(values)
        assert len(values[once]) == len(np.unique(values[mask], axis=0))


def test_a_point_that_is_worse_in_one_and_equal_in_the_other_is_dominated() -> None:
    items = {"a": (1.0, 2.0), "b": (1.0, 3.0), "c": (3.0, 1.0), "d": (1.0, 2.0)}
    assert non_dominated(items, items.__getitem__) == ["a", "c"]
    assert non_dominated(items, items.__getitem__, keep_equal=True) == ["a", "c", "d"]
    assert non_dominated([], lambda _: (0.0, 0.0)) == []
    assert is_non_dominated(np.empty((0, 2))).tolist() == []


def test_a_contribution_is_the_area_that_is_lost_without_the_point() -> None:
    points, reference = np.array([[1.0, 4.0], [2.0, 3.0], [4.0, 1.0], [4.0, 3.5]]), np.array([5.0, 5.0])
    whole = hypervolume(points, reference=reference)
    lost = [whole - hypervolume(np.delete(points, row, axis=0), reference=reference) for row in range(len(points))]
    assert hypervolume_contributions(points, reference=reference).tolist() == pytest.approx(lost)
