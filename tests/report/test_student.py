"""Quantiles of Student's t distribution are SciPy's."""

import pytest
from scipy.special import stdtrit

from flexsearch.report.student import student_quantile


@pytest.mark.parametrize("freedom", [1.0, 1.5, 2.0, 7.3, 40.0, 5_000.0])
def test_quantiles(freedom: float) -> None:
    for probability in (0.5, 0.8, 0.975, 0.999):
        assert student_quantile(freedom, probability) == pytest.approx(
            stdtrit(freedom, probability), rel=1e-9, abs=1e-9
        )
