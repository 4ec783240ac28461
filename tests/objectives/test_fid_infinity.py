"""Extrapolation to infinitely many images: exact on lines, and right on features whose distance is known."""

import numpy as np
import pytest
import torch

from flexsearch.objectives.fid_infinity import BLOCKS, at_infinity, block_name, curvature
from flexsearch.objectives.frechet import FeatureStatistics, feature_statistics, frechet_distance


def test_a_line_in_one_over_n_is_followed_to_its_end() -> None:
    distances = {num: np.array([10.0 + 0.5 * num, 3.0 + 2.0 * num]) for num in BLOCKS}
    assert at_infinity(distances) == pytest.approx([10.0, 3.0])
    assert curvature(distances) == pytest.approx([0.0, 0.0], abs=1e-9)
    distances = {num: np.array([10.0 + 0.5 * num + 0.1 * num**2]) for num in BLOCKS}
    assert at_infinity(distances) + curvature(distances) == pytest.approx([10.0]), "the next order is in the curvature"
    assert abs(curvature(distances)[0]) > 0.1
    names = {block_name("fid", index, num) for num in BLOCKS for index in range(num)}
    assert "fid" in names
    assert len(names) == sum(BLOCKS)


def test_gaussians_of_known_distance() -> None:
    """A unit Gaussian whose mean is off by 1: the distance is 1, and far above it with few images."""
    features = 16
    reference = FeatureStatistics(mean=np.zeros(features), covariance=np.eye(features))
    generator = torch.Generator().manual_seed(0)
    raw, ends = [], []
    for _ in range(30):
        drawn = torch.randn(400, features, generator=generator)
        drawn[:, 0] += 1.0
        distances = {
            num: np.mean([frechet_distance(feature_statistics(b), reference) for b in drawn.tensor_split(num)])
            for num in BLOCKS
        }
        raw.append(distances[1])
        ends.append(float(at_infinity(distances)))
    error = np.std(ends) / np.sqrt(len(ends))
    assert np.mean(raw) - 1.0 > 5 * error
    assert np.mean(ends) == pytest.approx(1.0, abs=3 * error)
