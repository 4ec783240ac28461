"""A tiny autoencoder and text encoder on disk, folders of images, and encoding that counts what it encodes."""

import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Call
from PIL import Image
from tiny_checkpoint import save_autoencoder, save_text_encoder
from torch import Tensor

from flexsearch.data.encoding import Encoders, EncodingSettings, encode_folder
from flexsearch.data.image_folder import open_image_folder
from flexsearch.data.shards import LatentIndex
from flexsearch.models.autoencoder import Autoencoder, load_autoencoder
from flexsearch.models.prompt_encoder import EmbeddedPrompt
from flexsearch.models.text_encoder import TextEncoder, load_text_encoder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in diffusers' layout. Its autoencoder has stride 2 and 4 channels, its text encoder 16."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save_autoencoder(folder, seed=1)
    save_text_encoder(folder)
    return folder


@pytest.fixture(scope="session")
def autoencoder(checkpoint: Path) -> Autoencoder:
    return load_autoencoder(str(checkpoint))


@pytest.fixture(scope="session")
def other_autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Autoencoder:
    """The same architecture with other weights."""
    folder = tmp_path_factory.mktemp("other")
    save_autoencoder(folder, seed=3)
    return load_autoencoder(str(folder))


@pytest.fixture(scope="session")
def text_encoder(checkpoint: Path) -> TextEncoder:
    return load_text_encoder(str(checkpoint))


@pytest.fixture
def save_images(tmp_path: Path) -> Callable[..., Path]:
    """Writes images of 11 x 9 pixels below a folder; their pixels depend on their names alone."""

    def save(names: Iterable[str], *, root: Path = tmp_path / "images") -> Path:
        for name in names:
            pixels = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (9, 11, 3), dtype=np.uint8)
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name)
        return root

    return save


@pytest.fixture
def class_images(save_images: Call) -> Path:
    """7 images of 3 classes."""
    return save_images(["b/2.png", "b/10.png", "a/x/y.png", "a/z.png", "c d/1.png", "c d/sub/1.png", "c d/sub-2/1.bmp"])


CAPTIONS = {
    "moon.png": "the moon",
    "cats/1.png": "a red cat on the moon",
    "cats/2.png": "cat",
    "dog.png": " A blue DOG ",
    "zebra.png": "a zebra",
}


@pytest.fixture
def captions() -> dict[str, str]:
    """By file; of different lengths, one with an unknown word."""
    return dict(CAPTIONS)


@pytest.fixture
def captioned_images(save_images: Call) -> Path:
    root = save_images(CAPTIONS)
    lines = [json.dumps({"file": name, "caption": caption}) for name, caption in CAPTIONS.items()]
    (root / "captions.jsonl").write_text("\n".join(lines) + "\n")
    return root


@dataclass(frozen=True)
class Encoded:
    """What a call left and did.

    Attributes:
        index: of the folder.
        num_images: that the autoencoder saw.
    """

    index: LatentIndex
    num_images: int


@pytest.fixture
def encode(autoencoder: Autoencoder, text_encoder: TextEncoder) -> Callable[..., Encoded]:
    """Encodes a folder into another at 8 pixels per side, in shards of 3."""

    def call(images: Path, out: Path, *, vae: Autoencoder = autoencoder, **changes: Any) -> Encoded:
        values = {"size": 8, "frames": None, "seed": 0, "shard_size": 3, "batch": 2, "max_tokens": 12, **changes}
        folder = open_image_folder(images, frames=values["frames"])
        seen: list[int] = []

        def posterior(pixels: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(len(pixels))
            assert len(pixels) <= values["batch"]
            return vae.posterior(pixels)

        def embed(texts: Sequence[str]) -> list[EmbeddedPrompt]:
            return [EmbeddedPrompt(row) for row in text_encoder.embed(texts)]

        index = encode_folder(
            folder,
            out,
            settings=EncodingSettings(**values),
            encoders=Encoders(
                posterior=posterior,
                embed=embed if folder.captions else None,
                identity={"autoencoder": vae.digest},
            ),
            source={"images": str(images)},
            report=lambda *_: None,
        )
        return Encoded(index, sum(seen))

    return call
