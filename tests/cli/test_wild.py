"""What the world holds is right or refused in one short line, with exit status 2 and nothing written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from builders import Call
from safetensors.torch import load_file, save_file

from flexsearch.paths import embedded_path

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
DDIM = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "clip_sample": False,
    "prediction_type": "epsilon",
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A copy of the quickstart's base."""
    return shutil.copytree(embedded_path("quickstart/base"), tmp_path / "base")


def refused(outcome: Any, message: str) -> None:
    """Check that a command was refused in one line that says `message`."""
    assert outcome.code == 2, outcome.err
    *_, line = outcome.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert all(len(one) <= 300 for one in outcome.err.splitlines())
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("scheduler", "steps", "message"),
    [
        ({**DDIM, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, 2, "rescale_betas_zero_snr"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": "1.0"}, 2, "scheduler.shift: must be a number"),
        ({**DDIM, "beta_schedule": "cosmic"}, 2, "scheduler: cannot be read"),
        ({**DDIM, "trained_betas": "none"}, 2, "scheduler"),
        ({**DDIM, "num_train_timesteps": 10**9}, 2, "num_train_timesteps: must be a whole number in 1 to"),
        ({**DDIM, "timestep_spacing": "wide"}, 2, "timestep_spacing"),
        (DDIM, 2000, "sampler_steps: must be at most 1000, but got 2000"),
    ],
    ids=["zero-snr", "text", "name", "betas", "many", "spacing", "steps"],
)
def test_a_scheduler_that_cannot_serve_is_refused(
    flexsearch: Call, base: Path, tmp_path: Path, scheduler: dict[str, Any], steps: int, message: str
) -> None:
    (base / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    picture = tmp_path / "x.png"
    refused(flexsearch("sample", base, "--out", picture, "--num", 1, "--steps", steps), message)
    assert not picture.exists()


def test_dynamic_shifting_draws(flexsearch: Call, base: Path, tmp_path: Path) -> None:
    file = base / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "use_dynamic_shifting": True}))
    assert flexsearch("sample", base, "--out", tmp_path / "x.png", "--num", 1, "--steps", 2).code == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value * float("nan"), "holds weights that are not finite"),
        (lambda value: (value * 10).to(torch.int8), "in I8: quantised weights cannot be read"),
    ],
    ids=["nan", "int8"],
)
def test_weights_without_values_are_refused(
    flexsearch: Call, base: Path, tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    weights = load_file(base / WEIGHTS)
    name = "transformer_blocks.0.attn1.to_q.weight"
    save_file({**weights, name: change(weights[name])}, base / WEIGHTS)
    refused(flexsearch("sample", base, "--out", tmp_path / "x.png", "--num", 1, "--steps", 1), message)


def test_samples_that_are_not_finite_are_no_picture(flexsearch: Call, base: Path, tmp_path: Path) -> None:
    weights = load_file(base / WEIGHTS)
    save_file({name: value * 1e30 for name, value in weights.items()}, base / WEIGHTS)
    refused(flexsearch("sample", base, "--out", tmp_path / "x.png", "--num", 1, "--steps", 1), "samples are not finite")
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mu, sigma: (np.where(np.arange(len(mu)), mu, np.nan), sigma), "mu holds numbers that are not finite"),
        (lambda mu, sigma: (mu, sigma * np.inf), "sigma holds numbers that are not finite"),
        (lambda mu, sigma: (mu, -sigma), "sigma must be a covariance, but has the negative eigenvalue"),
        (lambda mu, sigma: (mu, np.triu(sigma) * 2), "sigma must be a covariance"),
        (lambda mu, sigma: (mu + 1j, sigma), "mu must hold real numbers, but holds complex128"),
    ],
    ids=["nan", "inf", "negative", "lopsided", "complex"],
)
def test_statistics_that_are_none_are_refused(
    flexsearch: Call, tiny_space: Call, tmp_path: Path, change: Callable[..., Any], message: str
) -> None:
    with np.load(embedded_path("quickstart/reference.npz")) as arrays:
        mu, sigma = change(arrays["mu"], arrays["sigma"])
    np.savez(tmp_path / "x.npz", mu=mu, sigma=sigma)
    space = tiny_space(objectives={"quality": {"reference": str(tmp_path / "x.npz")}})
    refused(flexsearch("run", space, "--run-dir", tmp_path / "run"), message)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"sample_size": 15}, "base.config: sample_size: must be a multiple of patch_size 2, but got 15; nearest"),
        ({"sample_size": "16"}, "base.config: sample_size: must be a whole number in 1 to 65,536, but got '16'"),
        ({"num_layers": None}, "base.config: num_layers"),
        ({"num_layers": 10**9}, "base.config: num_layers"),
        ({"patch_size": 0}, "base.config: patch_size"),
        ({"num_attention_heads": [2]}, "base.config: num_attention_heads"),
        ({"out_channels": True}, "base.config: out_channels"),
        ({"num_embeds_ada_norm": {}}, "base.config: num_embeds_ada_norm"),
        ({"sample_size": 18}, "fashion-cnn reads images of 16, 28, 32 pixels per side, but the base draws 18"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else None,
)
def test_sizes_that_cannot_be_are_refused_by_plan(
    flexsearch: Call, tiny_space: Call, tiny_transformer: dict[str, Any], config: dict[str, Any], message: str
) -> None:
    whole = {**tiny_transformer, "num_layers": 8, **config}
    space = tiny_space(base={"checkpoint": "./nowhere", "config": whole})
    refused(flexsearch("plan", space), message)


def test_pictures_of_another_size_are_refused_by_plan(flexsearch: Call, tiny_space: Call) -> None:
    space = tiny_space(data={"name": "images", "root": "pictures", "size": 18})
    refused(flexsearch("plan", space), "data.size: must be 16, which the base reads, but got 18; nearest legal: 16")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_a_storage_that_ends_with_the_process_is_refused(
    flexsearch: Call, tiny_space: Call, tmp_path: Path, url: str
) -> None:
    outcome = flexsearch("run", tiny_space(), "--storage", url, "--run-dir", tmp_path / "run")
    refused(outcome, "--storage: must outlive the process")


def test_pictures_that_changed_end_the_run(flexsearch: Call, tiny_space: Call, tmp_path: Path) -> None:
    from PIL import Image

    random = np.random.default_rng(0)
    for index in range(20):
        path = tmp_path / "pictures" / str(index % 2) / f"{index}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (16, 16), dtype=np.uint8)).save(path)
    base = {"checkpoint": str(tmp_path / "base")}
    config = yaml.safe_load(tiny_space().read_text())
    shutil.copytree(config["base"]["checkpoint"], tmp_path / "base")
    file = tmp_path / "base" / "transformer" / "config.json"
    values = json.loads(file.read_text())
    weights = load_file(tmp_path / "base" / WEIGHTS)
    for name, value in list(weights.items()):
        if name.endswith("embedding_table.weight"):
            weights[name] = value[:3].clone()
    save_file(weights, tmp_path / "base" / WEIGHTS)
    file.write_text(json.dumps({**values, "num_embeds_ada_norm": 2}))
    data = {"name": "images", "root": str(tmp_path / "pictures"), "size": 16}
    changes: dict[str, Any] = {"base": base, "data": data, "objectives": {"quality": {"reference": "data"}}}
    arguments = ("run", tiny_space(**changes), "--run-dir", tmp_path / "run", "--executor", "local", "--trials")
    assert flexsearch(*arguments, 3).code == 0
    for path in (tmp_path / "pictures").rglob("*.bmp"):
        Image.eval(Image.open(path), lambda level: 255 - level).save(path)
    from flexsearch.trial import context, inputs

    inputs._load.cache_clear()
    context.trial_context.cache_clear()
    refused(flexsearch(*arguments, 8), "holds other data")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", str(2**70)], "--seeds"),
        (["--guidance", "nan"], "--guidance: must be finite, but got nan"),
        (["--guidance", "inf"], "--guidance"),
        (["--classes", "1" * 5000], "--classes"),
    ],
    ids=["seed", "nan", "inf", "digits"],
)
def test_numbers_out_of_bounds_are_refused(
    flexsearch: Call, tmp_path: Path, arguments: list[str], message: str
) -> None:
    refused(flexsearch("sample", "embedded:quickstart", "--out", tmp_path / "x.png", *arguments), message)
