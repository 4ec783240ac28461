"""The kernel distance: the estimator written out, zero for equal distributions, the same for the same rows."""

import pytest
import torch
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.objectives.kernel import kernel_distance


def direct(a: Tensor, b: Tensor) -> float:
    """The squared maximum mean discrepancy under the cubic kernel, without bias (Binkowski et al. 2018, eq. 4)."""
    a, b = a.double(), b.double()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    num = len(a)
    inside = [(kernel(x, x).sum() - kernel(x, x).diagonal().sum()) / (num * (num - 1)) for x in (a, b)]
    return float(sum(inside) - 2 * kernel(a, b).mean())


@pytest.mark.parametrize("subsets", [1, 5])
def test_subsets_of_all_are_the_estimator(subsets: int) -> None:
    a, b = torch.randn(60, 8), torch.randn(60, 8) + 0.3
    found = kernel_distance(a, b, subsets=subsets)
    assert found.value == pytest.approx(direct(a, b), rel=1e-9)
    assert (found.spread, found.subset_size) == (pytest.approx(0, abs=1e-12), 60)
    assert kernel_distance(a, b, subset_size=50) == kernel_distance(a, b, subset_size=50), "the same every time"


def test_equal_distributions_are_near_zero_and_others_far() -> None:
    a, b = torch.randn(2000, 8), torch.randn(2000, 8)
    near, far = kernel_distance(a, b, subset_size=500), kernel_distance(a, b + 1, subset_size=500)
    assert abs(kernel_distance(a, a, subset_size=500).value) < 0.02
    assert abs(near.value) < 2 * near.spread < far.value / 10


def test_one_image_is_too_few() -> None:
    with pytest.raises(UserError, match="at least 2 images, but got 1"):
        kernel_distance(torch.zeros(1, 4), torch.zeros(9, 4))
