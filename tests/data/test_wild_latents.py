"""Latents as people have them: what is no latent is refused by its file's name; what changed has another identity."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flexsearch.data.latents import LatentSet
from flexsearch.data.pixel_folder import load_pixels
from flexsearch.errors import UserError


@pytest.fixture
def latents(tmp_path: Path) -> Callable[..., Path]:
    """Writes 4 latents of 2 x 3 x 3 in fast-DiT's layout; the third is passed through `change`."""

    def write(change: Callable[[np.ndarray], np.ndarray], label: object = 1) -> Path:
        for folder in ("x_features", "x_labels"):
            (tmp_path / folder).mkdir(exist_ok=True)
        for index in range(4):
            latent = np.random.default_rng(index).standard_normal((1, 2, 3, 3)).astype(np.float32)
            np.save(tmp_path / "x_features" / f"{index}.npy", change(latent) if index == 2 else latent)
            np.save(tmp_path / "x_labels" / f"{index}.npy", np.array(label if index == 2 else [index]))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda latent: latent * np.nan, "not finite"),
        (lambda latent: latent * np.inf, "not finite"),
        (lambda latent: latent.astype(np.float16).view("V2"), r"must hold floats .* but holds \|V2 \(1, 2, 3, 3\)"),
        (lambda latent: np.concatenate([latent, latent[..., ::-1]]), r"must be \(1, C, H, W\), but is \(2, 2, 3, 3\)"),
        (lambda latent: latent + 1j, "complex64"),
        (lambda latent: latent.astype(np.uint8), "uint8"),
        (lambda latent: latent[..., :2], r"must be \(1, 2, 3, 3\) as others are, but is \(1, 2, 3, 2\)"),
        (lambda latent: latent[0], r"\(2, 3, 3\)"),
        (lambda _: np.array("text"), "<U4"),
    ],
    ids=["nan", "inf", "void", "pairs", "complex", "bytes", "shape", "row", "text"],
)
def test_what_is_no_latent_is_refused_by_name(
    latents: Callable[..., Path], change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    data = LatentSet(latents(change))
    assert data.clean(torch.tensor([0, 1, 3])).shape == (3, 2, 3, 3)
    with pytest.raises(UserError, match=rf"2\.npy: .*{message}"):
        data.clean(torch.tensor([0, 2]))


@pytest.mark.parametrize("label", [[1, 2], 1.5, float("nan"), -1, 1000, []], ids=str)
def test_what_is_no_label_is_refused_by_name(latents: Callable[..., Path], label: object) -> None:
    with pytest.raises(UserError, match=r"data\.root: .*2\.npy"):
        LatentSet(latents(lambda latent: latent, label))


def test_identity_is_of_contents(latents: Callable[..., Path], tmp_path: Path) -> None:
    before = LatentSet(latents(lambda latent: latent)).digest
    assert LatentSet(latents(lambda latent: latent)).digest == before
    assert LatentSet(latents(lambda latent: -latent)).digest != before
    picture = tmp_path / "pictures" / "a" / "1.bmp"
    picture.parent.mkdir(parents=True)
    found = []
    for level in (10, 20, 10):
        Image.new("L", (4, 4), level).save(picture)
        found.append(load_pixels(tmp_path / "pictures", size=4).digest)
    assert found[0] == found[2] != found[1]
