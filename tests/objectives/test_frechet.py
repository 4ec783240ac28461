"""The Frechet distance: zero for a set and itself, the closed form for Gaussians, and what real images reach."""

import numpy as np
import pytest
import torch

from flexsearch.data.embedded import load_quickstart
from flexsearch.errors import UserError
from flexsearch.objectives.extractors import create_extractor
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.frechet import FeatureStatistics, feature_statistics, frechet_distance
from flexsearch.objectives.reference_file import load_statistics
from flexsearch.paths import embedded_path

CPU = torch.device("cpu")


def statistics_of(images: torch.Tensor) -> FeatureStatistics:
    extractor = create_extractor("fashion-cnn", device=CPU)
    return feature_statistics(extract_features(images, extractor=extractor, batch=500))


def test_two_gaussians_have_a_closed_form() -> None:
    generator = np.random.default_rng(0)
    first = FeatureStatistics(mean=generator.normal(size=6), covariance=np.diag(generator.uniform(0.5, 2, 6)))
    second = FeatureStatistics(mean=generator.normal(size=6), covariance=np.diag(generator.uniform(0.5, 2, 6)))
    roots = np.sqrt(np.diag(first.covariance)) - np.sqrt(np.diag(second.covariance))
    expected = ((first.mean - second.mean) ** 2).sum() + (roots**2).sum()
    assert frechet_distance(first, second) == pytest.approx(expected)
    assert frechet_distance(second, first) == pytest.approx(expected)


def test_statistics_are_mean_and_unbiased_covariance() -> None:
    images = load_quickstart().images[:300]
    features = create_extractor("fashion-cnn", device=CPU).network(images).double().numpy()
    found = statistics_of(images)
    np.testing.assert_allclose(found.mean, features.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(features, rowvar=False), atol=1e-5)
    assert frechet_distance(found, found) == pytest.approx(0, abs=1e-6)
    with pytest.raises(UserError, match="at least 2 images, but got 1"):
        feature_statistics(torch.zeros(1, 4))


def test_held_out_real_images_are_near_the_shipped_reference_and_noise_is_far() -> None:
    reference = load_statistics(embedded_path("quickstart/reference.npz"))
    real = [frechet_distance(statistics_of(load_quickstart().images[:num]), reference) for num in (500, 2000, 10_000)]
    assert real == sorted(real, reverse=True)
    assert real[-1] < 1
    noise = torch.randint(0, 256, (500, 1, 16, 16), dtype=torch.uint8)
    assert frechet_distance(statistics_of(noise), reference) > 20 * real[0]
