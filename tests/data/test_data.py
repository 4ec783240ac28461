"""Data: what ships, what is downloaded, and errors that name the file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from flexsearch.data.embedded import load_quickstart
from flexsearch.data.fashion_mnist import load_fashion_mnist, resized
from flexsearch.data.images import to_uint8
from flexsearch.data.latents import LatentSet
from flexsearch.data.loading import load_data
from flexsearch.data.settings import DataSettings
from flexsearch.errors import UserError


def test_the_embedded_images() -> None:
    images = load_quickstart()
    assert images.images.shape == (10_000, 1, 16, 16)
    assert torch.bincount(images.labels).tolist() == [1000] * 10
    clean = images.clean(torch.tensor([0, 5]))
    assert (clean.shape, clean.dtype) == ((2, 1, 16, 16), torch.float32)
    assert clean.min() == -1
    assert clean.max() <= 1
    assert torch.equal(to_uint8(images.clean(torch.arange(100))), images.images[:100])
    assert to_uint8(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def _write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.fixture
def fashion_folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    raw = tmp_path / "FashionMNIST" / "raw"
    for prefix, num in (("train", 30), ("t10k", 20)):
        _write_idx(raw / f"{prefix}-images-idx3-ubyte", generator.integers(0, 256, (num, 28, 28)))
        _write_idx(raw / f"{prefix}-labels-idx1-ubyte", generator.integers(0, 10, num))
    return tmp_path


def test_fashion_mnist_from_a_folder(fashion_folder: Path) -> None:
    settings = DataSettings(name="fashion_mnist", root=str(fashion_folder), split="train", size=32)
    train = load_data(settings)
    assert len(train) == 30
    assert train.clean(torch.arange(3)).shape == (3, 1, 32, 32)
    small = load_fashion_mnist(fashion_folder, split="test", size=16)
    padded = load_fashion_mnist(fashion_folder, split="test", size=32)
    assert torch.equal(resized(padded.images[..., 2:-2, 2:-2], 16), small.images)
    assert padded.images[..., :2, :].max() == 0


def test_fashion_mnist_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(UserError, match=r"data\.root: .*could not be downloaded.*FashionMNIST/raw"):
        load_fashion_mnist(tmp_path, split="train", size=16)


@pytest.fixture
def latent_folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in ("imagenet256_features", "imagenet256_labels"):
        (tmp_path / name).mkdir()
    for index in range(12):
        np.save(tmp_path / "imagenet256_features" / f"{index}.npy", generator.normal(size=(1, 4, 8, 8)).astype("f4"))
        np.save(tmp_path / "imagenet256_labels" / f"{index}.npy", np.array([index * 80]))
    return tmp_path


def test_latents_keep_their_labels(latent_folder: Path) -> None:
    latents = LatentSet(latent_folder)
    assert len(latents) == 12
    assert latents.labels.tolist() == [index * 80 for index in range(12)]
    expected = np.load(latent_folder / "imagenet256_features" / "10.npy")
    torch.testing.assert_close(latents.clean(torch.tensor([10, 2]))[0], torch.from_numpy(expected)[0])


@pytest.mark.parametrize("name", ["latents", "imagenet_latents"])
def test_both_names_and_the_inner_folder_are_understood(latent_folder: Path, name: str) -> None:
    for root in (latent_folder, latent_folder / "imagenet256_features"):
        data = load_data(DataSettings(name=name, root=str(root)))
        assert isinstance(data, LatentSet)
        assert data.condition(torch.tensor([3, 1]))["class_labels"].tolist() == [240, 80]
        assert data.conditions.none(2)["class_labels"].tolist() == [1000, 1000]


def test_latent_errors_name_the_file(latent_folder: Path, tmp_path: Path) -> None:
    (latent_folder / "imagenet256_features" / "3.npy").write_bytes(b"not an array")
    with pytest.raises(UserError, match=r"features/3\.npy: cannot be read"):
        LatentSet(latent_folder).clean(torch.tensor([3]))
    np.save(latent_folder / "imagenet256_labels" / "4.npy", np.array([1000]))
    with pytest.raises(UserError, match=r"labels/4\.npy: label must be 0\.\.999, but got 1000"):
        LatentSet(latent_folder)
    with pytest.raises(UserError, match=r"must hold latents.*one folder \*_features.*extract_features\.py"):
        LatentSet(tmp_path / "nowhere")
    np.save(latent_folder / "imagenet256_labels" / "0.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot be read"):
        LatentSet(latent_folder)
