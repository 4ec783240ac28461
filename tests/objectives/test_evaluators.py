"""From a configuration to evaluators, and a whole trial that reports beside its objective."""

from pathlib import Path
from typing import Any

import pytest
from builders import Call, nothing
from PIL import Image

from flexsearch.config import RunConfig, parse_config
from flexsearch.data.embedded import load_quickstart
from flexsearch.errors import UserError
from flexsearch.trial.inputs import load_inputs
from flexsearch.trial.life import run_trial
from flexsearch.trial.shared_files import warm_start_digest


def configured(tiny_config: Call, **fid: Any) -> RunConfig:
    return parse_config(tiny_config(objectives={"quality": fid}))


def test_a_trial_reports_beside_its_objective(start: Call, cache: Path) -> None:
    quality = {"distance": "kernel", "reference": "data", "reference_images": 40}
    order = start(objectives={"quality": {**quality, "report": ["fid", "precision", "recall", "paired_distance"]}})
    result = run_trial(order, nothing)
    reported = ["kid_fashion_cnn", "fid_fashion_cnn", "precision", "recall"]
    assert list(result.measurements) == ["macs", "latency_ms", *reported, "paired_distance"]
    kid = result.measurements["kid_fashion_cnn"]
    assert kid.spread is not None
    assert kid.protocol["reference_images"] == 40
    assert {"spacing", "guidance", "dtype", "seed"} <= set(kid.protocol)
    assert 0 <= result.measurements["recall"].value <= 1
    assert len(list(cache.iterdir())) == 1


def test_a_folder_is_a_reference_at_the_size_of_the_samples(tiny_config: Call, tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    for index, image in enumerate(load_quickstart().images[:6]):
        Image.fromarray(image[0].numpy()).resize((40, 36)).save(folder / f"{index}.png")
    config = configured(tiny_config, reference=str(folder), report=["precision"])
    (evaluator,) = load_inputs(config.trial_settings).evaluators
    assert evaluator.metrics == ("frechet", "precision")
    assert evaluator.reference.features.shape == (6, 128)
    (folder / "3.png").write_text("no picture")
    load_inputs.__globals__["_load"].cache_clear()
    with pytest.raises(UserError, match=r"3\.png: cannot be read as an image"):
        load_inputs(config.trial_settings)


def test_statistics_alone_cannot_report_what_needs_images(tiny_config: Call) -> None:
    config = configured(tiny_config, report=["precision"])
    with pytest.raises(UserError, match="mu and sigma only, but precision on fashion-cnn must see the real images"):
        load_inputs(config.trial_settings)


def test_what_is_missing_is_said_together(tiny_config: Call, tmp_path: Path) -> None:
    config = configured(tiny_config, reference=None)
    with pytest.raises(UserError, match=r"objectives\.quality\.reference: is missing.*the word data"):
        load_inputs(config.trial_settings)
    config = configured(tiny_config, extractor="video", reference="data")
    with pytest.raises(UserError, match=r"objectives\.quality\.weights: is missing.*i3d_torchscript"):
        load_inputs(config.trial_settings)


def test_objectives_do_not_change_the_warm_start(tiny_config: Call) -> None:
    plain, other = configured(tiny_config), configured(tiny_config, distance="kernel", report=["recall"])
    assert warm_start_digest(plain.trial_settings) == warm_start_digest(other.trial_settings)
