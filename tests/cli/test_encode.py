"""`flexsearch encode`: exit status, and what goes where."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import Call
from PIL import Image
from tiny_checkpoint import save_autoencoder

from flexsearch.data.latents import LatentFolder
from flexsearch.models.text_encoder import TextEncoder


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


def test_captions_of_bases_with_encoders_of_their_own_are_refused(encode: Call, images: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"file": f"{name}.png", "caption": "a pet"}) for name in ("cat/1", "cat/2", "dog/1", "dog/2")]
    (images / "captions.jsonl").write_text("\n".join(lines))
    config = tmp_path / "wan" / "transformer" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"_class_name": "WanTransformer3DModel"}))
    outcome = encode("--checkpoint", tmp_path / "wan")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--checkpoint: is of wan, whose captions are not encoded" in outcome.err
    assert not (tmp_path / "out").exists()


def test_captions(encode: Call, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def embed(captions: Any) -> list[torch.Tensor]:
        return [torch.ones(len(caption) + 1, 5) for caption in captions]

    text = TextEncoder(embed=embed, max_tokens=120, digest="d")
    monkeypatch.setattr("flexsearch.models.text_encoder.load_text_encoder", lambda *_, **__: text)
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
