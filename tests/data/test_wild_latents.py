"""Latents as people have them: what is no latent is refused by its file's name; what changed has another identity."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flexsearch.data.latents import LatentFolder, LatentSet
from flexsearch.data.pixel_folder import load_pixels
from flexsearch.data.shards import LatentIndex, store
from flexsearch.errors import Note, UserError


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


def test_a_latent_and_its_label_are_never_alone(latents: Callable[..., Path]) -> None:
    root = latents(lambda latent: latent)
    (root / "x_features" / "._2.npy").touch()
    with pytest.warns(Note, match="passed over 1: 1 hidden"):
        assert len(LatentSet(root)) == 4
    (root / "x_features" / "2.npy").rename(root / "x_features" / "2.NPY")
    with pytest.raises(
        UserError, match=r"a latent must have a label and a label a latent, but 2\.NPY is alone \(2 are\)"
    ):
        LatentSet(root)


@pytest.fixture
def shards(tmp_path: Path) -> Callable[..., Path]:
    """Writes an encoded folder of two shards, each of 2 latents 1 x 3 x 3 with captions of 2 tokens and 4 channels;
    keywords replace tensors of the second."""

    def write(num: int = 2, empty: float = 0.0, **changes: torch.Tensor) -> Path:
        whole = {
            "latents": torch.zeros(2, 1, 3, 3, dtype=torch.float16),
            "captions": torch.zeros(4, 4, dtype=torch.float16),
            "caption_ends": torch.tensor([2, 4]),
        }
        LatentIndex(
            num_items=2 + num,
            settings={},
            latent_shape=(1, 3, 3),
            captions={"channels": 4, "max_tokens": 3, "resolution": [24, 24], "aspect_ratio": 1.0},
            shards=(
                store(tmp_path / "0.safetensors", whole, items=2),
                store(tmp_path / "1.safetensors", {**whole, **changes}, items=num),
            ),
            unconditional=store(tmp_path / "empty.safetensors", {"captions": torch.full((1, 4), empty)}, items=1),
        ).write(tmp_path)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latents": torch.zeros(3, 1, 3, 3)}, r"must hold latents \(2, 1, 3, 3\), as index\.json says"),
        ({"latents": torch.zeros(2, 1, 3, 4)}, r"must hold latents \(2, 1, 3, 3\), as index\.json says"),
        ({"latents": torch.zeros(())}, r"must hold latents \(2, 1, 3, 3\), as index\.json says"),
        ({"latents": torch.full((2, 1, 3, 3), torch.inf)}, "not finite"),
        ({"latents": torch.zeros(2, 1, 3, 3, dtype=torch.int8)}, "must hold floats, but holds int8"),
        ({"captions": torch.zeros(4, 5)}, r"must hold captions \(4, 4\), as index\.json says, but holds \(4, 5\)"),
        ({"captions": torch.full((4, 4), torch.nan)}, "holds a caption whose numbers are not finite floats"),
        ({"captions": torch.zeros(4, 4, dtype=torch.int8)}, "holds a caption whose numbers are not finite floats"),
        ({"caption_ends": torch.tensor([4])}, "must hold one end for each of 2 captions"),
        ({"caption_ends": torch.tensor([2.0, 4.0])}, "must hold one end for each of 2 captions"),
        ({"caption_ends": torch.tensor([4, 4])}, "holds a caption that ends before it begins"),
        ({"caption_ends": torch.tensor([2, 9])}, r"must hold captions \(9, 4\)"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_a_shard_holds_what_its_index_says(
    shards: Callable[..., Path], changes: dict[str, torch.Tensor], message: str
) -> None:
    def read() -> None:
        data = LatentFolder(shards(**changes))
        data.clean(torch.tensor([1, 2]))
        data.condition(torch.tensor([1, 2]))

    with pytest.raises(UserError, match=rf"1\.safetensors: .*{message}"):
        read()


def test_whole_shards_are_read_and_an_empty_caption_is_finite(shards: Callable[..., Path]) -> None:
    data = LatentFolder(shards())
    assert data.clean(torch.arange(4)).shape == (4, 1, 3, 3)
    assert data.condition(torch.arange(4))["encoder_attention_mask"].tolist() == [[1, 1, 0]] * 4
    with pytest.raises(UserError, match=r"empty\.safetensors: holds a caption whose numbers are not finite floats"):
        LatentFolder(shards(empty=float("nan")))
    with pytest.raises(UserError, match=r"index\.json: holds no items"):
        LatentFolder(shards(num=-2))


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
