"""Latencies of the dense base on a quiet machine are linear in its steps, and on a busy one they are not."""

import numpy as np
import pytest

from flexsearch.latency.linearity import TOLERANCE, disagreement, residuals, scatter, warning

QUIET = {10: 26.7, 5: 12.5, 4: 10.2, 3: 7.54, 2: 5.21}
"""A quickstart's, on two cores."""
BUSY = {3: 13.4, 4: 14.9, 5: 15.0, 7: 29.1, 10: 55.2}
"""Another's, beside five busy processes."""


def test_a_quiet_machine_is_linear_and_a_busy_one_is_not() -> None:
    assert disagreement(QUIET) is None
    assert scatter(QUIET) < 0.05
    found = disagreement(BUSY)
    assert found is not None
    assert 0.3 < found < 0.5
    assert scatter(BUSY) > 0.15
    assert "disagree by 40%" in warning(found, "runs/one")
    assert "`flexsearch remeasure runs/one`" in warning(found, "runs/one")


def test_a_start_and_any_speed_are_linear() -> None:
    assert residuals({steps: 3.0 + 7.0 * steps for steps in (2, 3, 5, 9)}) == pytest.approx([0.0] * 4)


def test_one_wrong_latency_is_found_and_moves_no_line() -> None:
    latencies = {steps: 2.0 * steps for steps in (2, 4, 5, 7, 10)}
    found = residuals({**latencies, 5: 15.0})
    assert found == pytest.approx([0.0, 0.0, 0.5, 0.0, 0.0], abs=1e-9)
    assert disagreement({**latencies, 5: 15.0}) == pytest.approx(0.5)


def test_noise_of_a_quiet_machine_is_hardly_ever_taken_for_a_busy_one() -> None:
    """One latency scatters by 3.6 %."""
    generator = np.random.default_rng(0)
    alarms = [
        disagreement({steps: 2.5 * steps * (1 + generator.normal(0, 0.036)) for steps in (2, 3, 4, 5, 10)}) is not None
        for _ in range(500)
    ]
    assert np.mean(alarms) < 0.02
    assert 0.1 < TOLERANCE < 0.2


def test_two_latencies_disagree_with_nothing() -> None:
    assert (disagreement({2: 1.0, 4: 9.0}), scatter({2: 1.0, 4: 9.0}), disagreement({})) == (None, 0.0, None)
