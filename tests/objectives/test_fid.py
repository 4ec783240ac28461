"""The Frechet distance: zero for a set and itself, the closed form for Gaussians, and what real images reach."""

from pathlib import Path

import numpy as np
import pytest
import torch

from flexsearch.data.embedded import load_quickstart
from flexsearch.errors import UserError
from flexsearch.objectives.extractors import FashionClassifier, create_extractor, weights_digest
from flexsearch.objectives.fid import (
    ReferenceStatistics,
    frechet_distance,
    image_statistics,
    load_reference,
    measure_fid,
)
from flexsearch.objectives.settings import fid_name
from flexsearch.paths import embedded_path

CPU = torch.device("cpu")


def statistics_of(images: torch.Tensor) -> ReferenceStatistics:
    extractor = create_extractor("fashion-cnn", device=CPU)
    return image_statistics(images, extractor=extractor, name="fashion-cnn", batch=500)


def test_a_set_and_itself() -> None:
    statistics = statistics_of(load_quickstart().images[:400])
    assert frechet_distance(statistics, statistics) == pytest.approx(0, abs=1e-6)


def test_two_gaussians_have_a_closed_form() -> None:
    generator = np.random.default_rng(0)
    first = ReferenceStatistics(mean=generator.normal(size=6), covariance=np.diag(generator.uniform(0.5, 2, 6)))
    second = ReferenceStatistics(mean=generator.normal(size=6), covariance=np.diag(generator.uniform(0.5, 2, 6)))
    roots = np.sqrt(np.diag(first.covariance)) - np.sqrt(np.diag(second.covariance))
    expected = ((first.mean - second.mean) ** 2).sum() + (roots**2).sum()
    assert frechet_distance(first, second) == pytest.approx(expected)
    assert frechet_distance(second, first) == pytest.approx(expected)


def test_statistics_are_mean_and_unbiased_covariance() -> None:
    images = load_quickstart().images[:300]
    extractor = create_extractor("fashion-cnn", device=CPU)
    features = extractor(images)[0].double().numpy()
    found = image_statistics(images, extractor=extractor, name="fashion-cnn", batch=128)
    np.testing.assert_allclose(found.mean, features.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(features, rowvar=False), atol=1e-5)


def test_held_out_real_images_are_near_the_shipped_reference_and_noise_is_far() -> None:
    reference = load_reference(embedded_path("quickstart/reference.npz"))
    real = [frechet_distance(statistics_of(load_quickstart().images[:num]), reference) for num in (500, 2000, 10_000)]
    assert real == sorted(real, reverse=True)
    assert real[-1] < 1
    noise = torch.randint(0, 256, (500, 1, 16, 16), dtype=torch.uint8)
    assert frechet_distance(statistics_of(noise), reference) > 20 * real[0]


def test_the_extractor_classifies_held_out_images() -> None:
    data, extractor = load_quickstart(), create_extractor("fashion-cnn", device=CPU)
    classifier: FashionClassifier = extractor.classifier
    with torch.inference_mode():
        guesses = classifier(data.clean(torch.arange(2000))).argmax(1)
    assert (guesses == data.labels[:2000]).float().mean() > 0.9


def test_larger_images_are_read_as_the_16x16_data_are_made() -> None:
    extractor = create_extractor("fashion-cnn", device=CPU)
    image = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2))
    assert torch.equal(extractor(image)[0], extractor(padded)[0])


def test_the_protocol_says_extractor_reference_and_images() -> None:
    extractor = create_extractor("fashion-cnn", device=CPU)
    reference = load_reference(embedded_path("quickstart/reference.npz"))
    found = measure_fid(
        load_quickstart().images[:50], reference=reference, extractor=extractor, name="fashion-cnn", batch=25
    )
    assert found.name == "fid_fashion_cnn"
    assert found.protocol == {
        "images": 50,
        "extractor": "fashion-cnn",
        "extractor_weights": weights_digest(extractor),
        "reference": reference.digest,
    }
    assert fid_name("inception") == "fid"


def test_adm_style_statistics_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "adm.npz", mu=np.zeros(4), sigma=np.eye(4), mu_s=np.zeros(2), sigma_s=np.eye(2))
    assert load_reference(tmp_path / "adm.npz").covariance.shape == (4, 4)


def test_bad_references_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"objectives\.fid\.reference: .*missing\.npz: does not exist"):
        load_reference(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "half.npz", mu=np.zeros(3))
    np.savez(tmp_path / "shapes.npz", mu=np.zeros(3), sigma=np.eye(4))
    np.savez(tmp_path / "objects.npz", mu=np.array([{}], dtype=object), sigma=np.eye(1))
    for name in ("text", "half", "shapes", "objects"):
        with pytest.raises(UserError, match=rf"{name}\.npz"):
            load_reference(tmp_path / f"{name}.npz")


def test_missing_or_damaged_extractor_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"objectives\.fid\.weights: .*none\.pt: does not exist"):
        create_extractor("inception", device=CPU, weights=str(tmp_path / "none.pt"))
    (tmp_path / "bad.safetensors").write_bytes(b"xxxx")
    with pytest.raises(UserError, match="could not be read or downloaded"):
        create_extractor("fashion-cnn", device=CPU, weights=str(tmp_path / "bad.safetensors"))


def test_statistics_of_another_extractor_are_refused() -> None:
    extractor = create_extractor("fashion-cnn", device=CPU)
    reference = ReferenceStatistics(mean=np.zeros(4), covariance=np.eye(4))
    with pytest.raises(UserError, match="must hold features of fashion-cnn"):
        measure_fid(
            load_quickstart().images[:10], reference=reference, extractor=extractor, name="fashion-cnn", batch=10
        )
