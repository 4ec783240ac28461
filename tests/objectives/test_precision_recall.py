"""Precision and recall: both 1 for equal sets, both 0 for disjoint ones, and each by itself where one set is part."""

import pytest
import torch

from flexsearch.errors import UserError
from flexsearch.objectives.precision_recall import precision_recall


def test_equal_and_disjoint_sets_and_half_of_the_modes() -> None:
    one, other = torch.randn(200, 6), torch.randn(200, 6) + 100
    assert precision_recall(one, one.clone()) == (1.0, 1.0)
    assert precision_recall(one, other) == (0.0, 0.0)
    assert precision_recall(one, torch.cat((one, other))) == (1.0, 0.5)
    assert precision_recall(torch.cat((one, other)), one) == (0.5, 1.0)


def test_no_more_images_than_neighbours_are_too_few() -> None:
    with pytest.raises(UserError, match="at least 4 images, but got 3"):
        precision_recall(torch.randn(3, 2), torch.randn(50, 2))
