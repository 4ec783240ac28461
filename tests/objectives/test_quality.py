"""Every metric from one extraction, under its name, with a protocol that says how it was measured."""

from pathlib import Path

import numpy as np
import pytest
import torch
from builders import Call

from flexsearch.data.embedded import load_quickstart
from flexsearch.errors import UserError
from flexsearch.objectives.extractors import Extractor, create_extractor
from flexsearch.objectives.frechet import FeatureStatistics
from flexsearch.objectives.quality import Evaluator, measure_quality
from flexsearch.objectives.real_images import TrainingImages
from flexsearch.objectives.reference import Reference, reference_of_images
from flexsearch.objectives.reference_file import load_statistics
from flexsearch.objectives.settings import ObjectiveSettings, QualitySettings, quality_name
from flexsearch.paths import embedded_path

CPU = torch.device("cpu")


def real(num: int, extractor: Extractor) -> Reference:
    """The quickstart's images as they are."""
    images = TrainingImages(data=load_quickstart(), decode=lambda data: data, device=CPU, num=num)
    return reference_of_images(images, extractor=extractor, batch=50)


def test_all_metrics_of_a_set_and_itself_and_of_better_and_worse_images(cache: Path) -> None:
    extractor = create_extractor("fashion-cnn", device=CPU)
    evaluator = Evaluator(
        extractor=extractor, reference=real(200, extractor), metrics=("frechet", "kernel", "precision", "recall")
    )
    found = measure_quality(load_quickstart().images[::50], evaluators=[evaluator], batch=50)
    assert [each.name for each in found] == ["fid_fashion_cnn", "kid_fashion_cnn", "precision", "recall"]
    assert found[0].value == pytest.approx(0, abs=1e-6)
    assert -1 < found[1].value < 0  # the estimator takes the two sets for independent draws; noise has 200
    assert [each.value for each in found[2:]] == [1.0, 1.0]
    facts = {
        "images": 200,
        "extractor": "fashion-cnn",
        "extractor_weights": extractor.digest,
        "reference": evaluator.reference.features_protocol["reference"],
        "reference_images": 200,
    }
    assert found[0].protocol == facts
    assert found[1].protocol == {
        **facts,
        "kernel": "(x . y / D + 1)^3",
        "subsets": 100,
        "subset_size": 200,
        "spread": "standard deviation over the subsets",
    }
    assert found[1].spread == pytest.approx(0, abs=1e-9)
    assert found[2].protocol == {**facts, "neighbourhood": 3}
    clean = load_quickstart().images[1:9001:30]
    noise = torch.randint(-60, 61, clean.shape)
    noisy = (clean.int() + noise).clamp(0, 255).to(torch.uint8)
    good, bad = (
        [each.value for each in measure_quality(images, evaluators=[evaluator], batch=100)] for images in (clean, noisy)
    )
    assert all(better < worse for better, worse in zip(good[:2], bad[:2], strict=True)), "distances"
    assert all(better > worse for better, worse in zip(good[2:], bad[2:], strict=True)), "precision and recall"


def test_each_extractor_sees_the_images_once(toy: Call) -> None:
    one, other = toy(channels=1), toy(channels=1, name="other")
    evaluators = [
        Evaluator(extractor=one, reference=real(30, one), metrics=("kernel", "frechet", "precision", "recall")),
        Evaluator(extractor=other, reference=real(30, other), metrics=("frechet",)),
    ]
    one.network.num_seen = other.network.num_seen = 0
    found = measure_quality(load_quickstart().images[:40], evaluators=evaluators, batch=10)
    assert [each.name for each in found] == ["kid_toy", "fid_toy", "precision", "recall", "fid_other"]
    assert (one.network.num_seen, other.network.num_seen) == (40, 40)


def test_the_protocol_of_a_file_is_extractor_reference_and_images() -> None:
    extractor = create_extractor("fashion-cnn", device=CPU)
    statistics = load_statistics(embedded_path("quickstart/reference.npz"))
    evaluator = Evaluator(extractor=extractor, reference=Reference.of_statistics(statistics), metrics=("frechet",))
    (found,) = measure_quality(load_quickstart().images[:50], evaluators=[evaluator], batch=25)
    assert (found.name, found.spread) == ("fid_fashion_cnn", None)
    assert found.protocol == {
        "images": 50,
        "extractor": "fashion-cnn",
        "extractor_weights": extractor.digest,
        "reference": statistics.digest,
    }


def test_statistics_of_another_extractor_are_refused(toy: Call) -> None:
    statistics = FeatureStatistics(mean=np.zeros(3), covariance=np.eye(3))
    evaluator = Evaluator(
        extractor=toy(channels=1), reference=Reference.of_statistics(statistics), metrics=("frechet",)
    )
    with pytest.raises(UserError, match=r"must hold features of toy \(4\), but got 3"):
        measure_quality(load_quickstart().images[:10], evaluators=[evaluator], batch=10)


@pytest.mark.parametrize(
    ("extractor", "distance", "name"),
    [
        ("inception", "frechet", "fid"),
        ("inception", "kernel", "kid"),
        ("fashion-cnn", "frechet", "fid_fashion_cnn"),
        ("fashion-cnn", "kernel", "kid_fashion_cnn"),
        ("dinov2", "frechet", "fd_dinov2"),
        ("dinov2", "kernel", "kid_dinov2"),
        ("video", "frechet", "fvd"),
        ("video", "kernel", "kid_video"),
    ],
)
def test_objectives_are_named_by_distance_and_extractor(extractor: str, distance: str, name: str) -> None:
    settings = ObjectiveSettings(quality=QualitySettings(extractor=extractor, distance=distance))
    assert settings.names == (name, "latency_ms")
    assert quality_name(extractor, distance) == name


def test_what_is_reported_is_measured_once_and_after_the_objective() -> None:
    settings = QualitySettings(report=("precision", "fid", "kid", "fd_dinov2"))
    assert settings.metrics == {"inception": ("frechet", "precision", "kernel"), "dinov2": ("frechet",)}
    assert QualitySettings(distance="kernel", report=("fid",)).metrics == {"inception": ("kernel", "frechet")}
    assert QualitySettings(extractor="dinov2", report=("fd_dinov2", "kid")).metrics == {"dinov2": ("frechet", "kernel")}
    assert QualitySettings().metrics == {"inception": ("frechet",)}
    with pytest.raises(UserError, match=r"objectives\.quality\.images: must be at least 4 for precision and recall"):
        QualitySettings(images=3, report=("recall",))
    with pytest.raises(UserError, match=r"\.weights_sha256: has no objectives\.quality\.weights to check"):
        QualitySettings(weights_sha256="abc")
