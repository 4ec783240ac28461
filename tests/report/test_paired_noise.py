"""Intervals hold the truth as often as they say, and what candidates share does not decide between them."""

import numpy as np
import pytest

from flexsearch.report.paired_noise import PairedNoise

CASES = [
    pytest.param(6, 3, 0.0, 0.02, id="nothing shared"),
    pytest.param(6, 3, 0.02, 0.02, id="half shared"),
    pytest.param(6, 3, 0.05, 0.01, id="mostly shared, few repetitions"),
    pytest.param(10, 12, 0.04, 0.015, id="mostly shared"),
    pytest.param(1, 4, 0.03, 0.01, id="one candidate"),
]


def table(
    generator: np.random.Generator, means: np.ndarray, *, repetitions: int, common: float, paired: float
) -> np.ndarray:
    noise = generator.normal(0, common, repetitions) + generator.normal(0, paired, (len(means), repetitions))
    return means[:, None] * (1.0 + noise)


@pytest.mark.parametrize(("candidates", "repetitions", "common", "paired"), CASES)
def test_intervals_cover_as_they_say(candidates: int, repetitions: int, common: float, paired: float) -> None:
    generator = np.random.default_rng(0)
    held = []
    for _ in range(400):
        means = generator.uniform(10, 50, candidates)
        measured = table(generator, means, repetitions=repetitions, common=common, paired=paired)
        noise = PairedNoise.of(measured, power=1.0)
        held.append(np.mean(np.abs(noise.means - means) <= noise.half_widths()))
    assert 0.90 <= np.mean(held) <= 0.99


def test_both_parts_are_recovered() -> None:
    generator = np.random.default_rng(1)
    found = [
        PairedNoise.of(table(generator, np.linspace(10, 50, 8), repetitions=10, common=0.04, paired=0.01), power=1.0)
        for _ in range(200)
    ]
    assert np.sqrt(np.mean([noise.paired**2 for noise in found])) == pytest.approx(0.01, rel=0.05)
    assert np.sqrt(np.mean([noise.common**2 for noise in found])) == pytest.approx(0.04, rel=0.1)


def test_what_is_shared_cancels_in_comparisons() -> None:
    generator = np.random.default_rng(2)
    measured = table(generator, np.array([10.0, 10.5]), repetitions=6, common=0.1, paired=0.001)
    noise = PairedNoise.of(measured, power=1.0)
    assert noise.half_widths().min() > 0.5  # either could be anywhere
    drawn = noise.draws(2000, generator)
    assert np.mean(drawn[:, 0] < drawn[:, 1]) > 0.99
    assert drawn.std(axis=0).min() > 0.2


def test_draws_are_as_wide_as_the_intervals() -> None:
    generator = np.random.default_rng(3)
    measured = table(generator, np.linspace(10, 40, 6), repetitions=12, common=0.03, paired=0.02)
    noise = PairedNoise.of(measured, power=1.0)
    drawn = noise.draws(20_000, generator)
    assert drawn.mean(axis=0) == pytest.approx(noise.means, rel=0.005)
    inside = np.abs(drawn - noise.means) <= noise.half_widths()
    assert inside.mean() == pytest.approx(0.95, abs=0.03)


def test_noise_that_does_not_grow_with_the_value() -> None:
    generator = np.random.default_rng(4)
    measured = np.array([[0.0], [5.0], [-1.0]]) + generator.normal(0, 0.1, (3, 8))
    noise = PairedNoise.of(measured, power=0.0)
    assert noise.half_widths() == pytest.approx(np.full(3, noise.half_widths()[0]))
    assert np.all(np.abs(noise.means - [0.0, 5.0, -1.0]) < 0.2)
    equal = PairedNoise.of(np.full((3, 4), 7.0), power=1.0)
    assert equal.half_widths() == pytest.approx(np.zeros(3))
    assert equal.draws(5, np.random.default_rng(0)) == pytest.approx(np.full((5, 3), 7.0))


def test_squared_distances_scatter_with_their_root() -> None:
    """|d + noise|^2 has a noise of 2 |d| times that of d."""
    generator = np.random.default_rng(5)
    sizes = np.array([3.0, 5.0, 7.0])
    measured = (sizes[:, None] + generator.normal(0, 0.05, (3, 400))) ** 2
    noise = PairedNoise.of(measured, power=0.5)
    assert noise.paired == pytest.approx(2 * 0.05, rel=0.1)
    own = measured.std(axis=1, ddof=1) / np.sqrt(400)
    assert noise.half_widths() == pytest.approx(1.96 * own, rel=0.1)
