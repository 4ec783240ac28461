"""Extractors: what they read, whose weights they take, and which files they refuse."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from flexsearch.data.embedded import load_quickstart
from flexsearch.errors import UserError
from flexsearch.files import file_sha256
from flexsearch.objectives import extractors, weights
from flexsearch.objectives.dinov2 import Dinov2, Dinov2Features
from flexsearch.objectives.extractors import Extractor, create_extractor
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.weights import PublishedWeights, load_tensors, published
from flexsearch.paths import embedded_path

CPU = torch.device("cpu")
Toy = Callable[..., Extractor]


def test_the_fashion_classifier_classifies_held_out_images() -> None:
    data, extractor = load_quickstart(), create_extractor("fashion-cnn", device=CPU)
    with torch.inference_mode():
        guesses = extractor.network.classifier(data.clean(torch.arange(2000))).argmax(1)
    assert (guesses == data.labels[:2000]).float().mean() > 0.9


def test_larger_images_are_read_as_the_16x16_data_are_made() -> None:
    network = create_extractor("fashion-cnn", device=CPU).network
    image = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2))
    assert torch.equal(network(image)[0], network(padded)[0])


def test_features_do_not_depend_on_the_batch(toy: Toy) -> None:
    images = torch.randint(0, 256, (23, 3, 4, 4), dtype=torch.uint8)
    whole = extract_features(images, extractor=toy(), batch=100)
    assert torch.equal(whole, toy().network(images)[0])
    assert torch.equal(whole, extract_features(images, extractor=toy(), batch=5))


def test_grey_images_are_read_by_extractors_of_colour(toy: Toy) -> None:
    grey = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8)
    colour = extract_features(grey.expand(-1, 3, -1, -1), extractor=toy())
    assert torch.equal(extract_features(grey, extractor=toy()), colour)


def test_images_of_another_kind_are_refused(toy: Toy) -> None:
    with pytest.raises(UserError, match=r"toy reads images \(C, H, W\) of 1 channels, but got 3"):
        extract_features(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), extractor=toy(channels=1))
    with pytest.raises(UserError, match=r"toy reads images \(C, H, W\), but got \(3, 8, 4, 4\)"):
        extract_features(torch.zeros(2, 3, 8, 4, 4, dtype=torch.uint8), extractor=toy())
    with pytest.raises(UserError, match="at least 1 image, but got 0"):
        extract_features(torch.zeros(0, 3, 4, 4, dtype=torch.uint8), extractor=toy())


def test_dinov2_reads_images_of_any_size_and_its_weights_have_the_published_names() -> None:
    network = Dinov2(width=24, depth=2, heads=2)
    names = set(network.state_dict())
    assert {"cls_token", "pos_embed", "mask_token", "patch_embed.proj.weight", "blocks.1.attn.qkv.bias"} <= names
    assert {"blocks.0.ls1.gamma", "blocks.0.mlp.fc2.weight", "blocks.0.norm2.bias", "norm.weight"} <= names
    extractor = Dinov2Features("dinov2-vit-l-14", network)
    assert extractor(torch.randint(0, 256, (2, 3, 17, 17), dtype=torch.uint8))[0].shape == (2, 24)


def test_dinov2_keeps_positions_on_the_grid_of_its_training() -> None:
    network = Dinov2(width=4, depth=0, heads=1)
    torch.nn.init.normal_(network.pos_embed)
    assert network._positions((37, 37)) is network.pos_embed
    assert network._positions((16, 16)).shape == (1, 257, 4)
    assert torch.equal(network._positions((16, 8))[:, :1], network.pos_embed[:, :1])


def test_missing_or_damaged_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"objectives\.quality\.weights: .*none\.pt: does not exist"):
        create_extractor("inception", device=CPU, weights=str(tmp_path / "none.pt"))
    (tmp_path / "bad.safetensors").write_bytes(b"xxxx")
    with pytest.raises(UserError, match=r"bad\.safetensors could not be read"):
        create_extractor("fashion-cnn", device=CPU, weights=str(tmp_path / "bad.safetensors"))
    with pytest.raises(UserError, match="must be one of"):
        create_extractor("clip", device=CPU)


@pytest.mark.parametrize(("name", "start"), [("inception", "6726825d"), ("dinov2", "d5383ea8")])
def test_weights_other_than_the_published_are_refused_with_both_hashes(tmp_path: Path, name: str, start: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(
        UserError, match=rf"weights\.pth: must have a SHA-256 that starts with '{start}.*{file_sha256(path)}"
    ):
        create_extractor(name, device=CPU, weights=str(path))


def test_a_given_hash_is_checked() -> None:
    path = embedded_path("quickstart/extractor.safetensors")
    found = file_sha256(path)
    for given in (found, found[:8].upper()):
        create_extractor("fashion-cnn", device=CPU, weights=str(path), weights_sha256=given)
    with pytest.raises(UserError, match=rf"starts with '00', but got {found}"):
        create_extractor("fashion-cnn", device=CPU, weights=str(path), weights_sha256="00")


def test_the_copy_in_torch_hubs_folder_is_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    kept = PublishedWeights(url="https://example.invalid/net.pth", sha256="0" * 64)
    kept.path.parent.mkdir()
    kept.path.write_bytes(b"someone else's")
    with pytest.raises(UserError, match=r"checkpoints/net\.pth: must have a SHA-256 that starts with"):
        published(kept)


def test_without_the_network_the_error_says_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(UserError, match=r"no route to host.*weights-inception-2015-12-05-6726825d\.pth, or give it as"):
        create_extractor("inception", device=CPU)


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.path),)


def test_a_weight_file_cannot_run_code(tmp_path: Path) -> None:
    torch.save({"weight": Hostile(tmp_path / "hacked")}, tmp_path / "hostile.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    for name in ("hostile", "list", "text"):
        with pytest.raises(UserError, match=rf"{name}\.pth"):
            load_tensors(tmp_path / f"{name}.pth")
    assert not (tmp_path / "hacked").exists()


def test_inception_takes_the_tensors_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:  # torch-fidelity's class cannot be made without weights
        patched.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.save({}, tmp_path / "none.pth")
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=tmp_path / "none.pth"
        )
    path = tmp_path / "inception.pth"
    torch.save(network.state_dict(), path)
    known = PublishedWeights(url="https://example.invalid/inception.pth", sha256=file_sha256(path))
    monkeypatch.setattr(extractors, "INCEPTION_WEIGHTS", known)
    found = create_extractor("inception", device=CPU, weights=str(path))
    assert found.digest == extractors.weights_digest(network)
    grey = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    assert extract_features(grey, extractor=found).shape == (2, found.num_features)


def test_fetched_weights_land_in_torch_hubs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source.pth").write_bytes(b"tensors")
    digest = file_sha256(tmp_path / "source.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    url = (tmp_path / "source.pth").as_uri()
    path = published(PublishedWeights(url=url, sha256=digest))
    assert path == tmp_path / "hub" / "checkpoints" / "source.pth"
    path.unlink()
    with pytest.raises(UserError, match="could not be downloaded"):
        published(PublishedWeights(url=url, sha256="00"))
    assert not path.exists()
    assert weights.existing(str(tmp_path / "source.pth")) == tmp_path / "source.pth"
