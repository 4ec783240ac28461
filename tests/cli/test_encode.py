"""`flexsearch encode`: exit status, and what goes where."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import Call
from diffusers import AutoencoderKLWan
from PIL import Image
from tiny_checkpoint import save_autoencoder, save_flux

from flexsearch.data.check import check_fit
from flexsearch.data.latents import LatentFolder
from flexsearch.models.architectures import architecture_named
from flexsearch.models.prompt_encoder import load_prompt_encoder
from flexsearch.models.settings import BaseSettings, base_shape
from flexsearch.models.text_encoder import TextEncoder

CLOSE = {"rtol": 2e-3, "atol": 2e-3}  # float16


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny autoencoder of stride 2."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save_autoencoder(folder, seed=1)
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two images of each of two classes."""
    generator = np.random.default_rng(0)
    for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
        path = tmp_path / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


@pytest.fixture
def encode(flexsearch: Call, images: Path, checkpoint: Path, tmp_path: Path) -> Call:
    """Encodes the images into tmp_path/out; later options win."""

    def call(*options: object, out: Path = tmp_path / "out") -> Any:
        return flexsearch("encode", images, out, "--checkpoint", checkpoint, "--size", 16, "--device", "cpu", *options)

    return call


def test_images_become_latents(encode: Call, tmp_path: Path) -> None:
    outcome = encode("--shard-size", 3)
    assert (outcome.code, outcome.out) == (0, "")
    assert "encoding" in outcome.err
    assert f"{tmp_path / 'out'}: 4 latents 4x8x8 with 2 classes; search with data: {{name: latents" in outcome.err
    found = LatentFolder(tmp_path / "out")
    assert found.clean(torch.arange(4)).shape == (4, 4, 8, 8)
    assert found.labels.tolist() == [0, 0, 1, 1]


def test_the_second_call_encodes_nothing(encode: Call, tmp_path: Path) -> None:
    encode()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("shard-*")}
    outcome = encode("--batch", 1)
    assert (outcome.code, outcome.out) == (0, "")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("shard-*")} == before
    other = encode("--seed", 1)
    assert (other.code, other.out) == (2, "")
    assert "was begun with seed 0, but got 1" in other.err


def test_captions_of_a_base_with_encoders_of_its_own(encode: Call, images: Path, tmp_path: Path) -> None:
    """FLUX.1: what is stored is what its pipeline embeds, pooled vectors too, and fits the base."""
    base = tmp_path / "base"
    save_flux(base)
    save_autoencoder(base, seed=1)
    captions = dict(
        zip(("cat/1", "cat/2", "dog/1", "dog/2"), ("a red cat", "the moon", "cat", "a dog on the moon"), strict=True)
    )
    lines = [json.dumps({"file": f"{name}.png", "caption": caption}) for name, caption in captions.items()]
    (images / "captions.jsonl").write_text("\n".join(lines))
    outcome = encode("--checkpoint", base, "--size", "32x32", "--shard-size", 3)
    assert (outcome.code, outcome.out) == (0, "")
    assert "4 latents 4x16x16 with captions" in outcome.err
    data, settings = LatentFolder(tmp_path / "out"), BaseSettings(checkpoint=str(base), backbone="flux")
    check_fit(data, base_shape(settings))
    encoder = load_prompt_encoder(architecture_named("flux", field="backbone"), str(base), max_tokens=7)
    found = data.condition(torch.arange(4))
    assert set(found) == {"encoder_hidden_states", "pooled_projections"}
    for row, expected in enumerate(encoder.embed(list(captions.values()))):
        torch.testing.assert_close(found["encoder_hidden_states"][row], expected.tokens, **CLOSE)
        torch.testing.assert_close(found["pooled_projections"][row], expected.pooled, **CLOSE)
    none, (empty,) = data.conditions.none(2), encoder.embed([""])
    torch.testing.assert_close(none["pooled_projections"][1], empty.pooled, **CLOSE)
    save_flux(base, seed=4)
    again = encode("--checkpoint", base, "--size", "32x32", "--shard-size", 3)
    assert (again.code, "was begun with text encoder" in again.err) == (2, True)


def test_videos_whose_frames_are_joined(encode: Call, images: Path, tmp_path: Path) -> None:
    """Wan's autoencoder takes whole videos, of 1 + 2 k frames here, of any height and width."""
    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=4, z_dim=4, dim_mult=[1, 1], num_res_blocks=1, temperal_downsample=[True])
    vae.register_to_config(scale_factor_spatial=2, latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
    vae.save_pretrained(tmp_path / "wan" / "vae", safe_serialization=True)
    for video in ("cat/a", "dog/b"):
        for frame in range(7):
            path = images / video / f"{frame}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes((images / "cat" / "1.png").read_bytes())
    for path in images.glob("*/*.png"):
        path.unlink()
    options = ("--checkpoint", tmp_path / "wan", "--size", "16x32")
    for wrong, message in (
        ((), "--frames: is missing: this autoencoder takes videos"),
        (
            ("--frames", 4),
            "--frames: must be 1 more than a multiple of 2, of which this autoencoder makes one, but got 4",
        ),
    ):
        outcome = encode(*options, *wrong)
        assert (outcome.code, outcome.out) == (2, "")
        assert message in outcome.err
    outcome = encode(*options, "--frames", 5)
    assert (outcome.code, outcome.out) == (0, "")
    assert "2 latents 4x3x8x16 with 2 classes" in outcome.err


def test_captions(encode: Call, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def embed(captions: Any) -> list[torch.Tensor]:
        return [torch.ones(len(caption) + 1, 5) for caption in captions]

    text = TextEncoder(embed=embed, max_tokens=120, digest="d")
    monkeypatch.setattr("flexsearch.models.prompt_encoder.load_text_encoder", lambda *_, **__: text)
    for image in images.rglob("*.png"):
        image.with_suffix(".txt").write_text("cats")
    outcome = encode()
    assert (outcome.code, outcome.out) == (0, "")
    assert "4 latents 4x8x8 with captions" in outcome.err
    condition = LatentFolder(tmp_path / "out").condition(torch.tensor([3]))
    assert condition["encoder_hidden_states"].shape == (1, 120, 5)
    assert condition["encoder_attention_mask"].sum() == 5
    outcome = encode("--captions", "none", out=tmp_path / "classes")
    assert "4 latents 4x8x8 with 2 classes" in outcome.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", 15), "--size: must be a multiple of 2, but got 15; nearest legal: 16"),
        (("--size", "16x15"), "--size: must be a multiple of 2, but got 16x15; nearest legal: 16x16"),
        (("--size", "16x"), "--size: must be pixels, or height x width, but got '16x'"),
        (("--size", 0), "--size: must be at least 1, but got 0"),
        (("--frames", 2), "cat: is not in a class folder"),
        (("--checkpoint", "/nowhere"), "/nowhere/vae: could not be loaded"),
        (("--device", "gpu"), "--device: must be auto, cpu or a CUDA device of this machine, but got 'gpu'"),
        (("--device", "meta"), "--device: must be auto, cpu or a CUDA device of this machine, but got 'meta'"),
        (("--dtype", "fp8"), "--dtype"),
    ],
)
def test_bad_options_get_one_line(encode: Call, tmp_path: Path, options: tuple[object, ...], message: str) -> None:
    outcome = encode(*options)
    assert (outcome.code, outcome.out) == (2, "")
    (line,) = [line for line in outcome.err.splitlines() if not line.startswith("note: ")]
    assert message in line
    assert not (tmp_path / "out").exists()


def test_latents_do_not_go_among_the_images(encode: Call, images: Path) -> None:
    for out in (images, images / "latents", images / "cat" / ".." / "latents"):
        outcome = encode(out=out)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err == f"error: {out}: must not be inside of {images}, whose folders are read\n"


def test_a_file_in_the_way_gets_one_line(encode: Call, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    outcome = encode()
    assert (outcome.code, outcome.out) == (2, "")
    assert f"{tmp_path / 'out'}: must be a folder" in outcome.err
