"""Extractors: what they read, whose weights they take, and which files they refuse."""

import os
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from builders import Call
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from flexsearch.data.embedded import load_quickstart
from flexsearch.errors import UserError
from flexsearch.files import file_sha256
from flexsearch.objectives import extractors, weights
from flexsearch.objectives.dinov2 import Dinov2Features
from flexsearch.objectives.extractors import create_extractor, weights_digest
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.weights import PublishedWeights, load_tensors, published
from flexsearch.paths import embedded_path

CPU = torch.device("cpu")


def test_the_fashion_classifier_classifies_held_out_images() -> None:
    data, extractor = load_quickstart(), create_extractor("fashion-cnn", device=CPU)
    with torch.inference_mode():
        guesses = extractor.network.classifier(data.clean(torch.arange(2000))).argmax(1)
    assert (guesses == data.labels[:2000]).float().mean() > 0.9
    image = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)  # larger ones, as the 16 x 16 data are made
    assert torch.equal(extractor.network(image), extractor.network(F.pad(image, (2, 2, 2, 2))))


def test_features_do_not_depend_on_the_batch_and_grey_is_read_as_colour(toy: Call) -> None:
    images = torch.randint(0, 256, (23, 3, 4, 4), dtype=torch.uint8)
    whole = extract_features(images, extractor=toy(), batch=100)
    assert torch.equal(whole, toy().network(images))
    assert torch.equal(whole, extract_features(images, extractor=toy(), batch=5))
    colour = extract_features(images[:, :1].expand(-1, 3, -1, -1), extractor=toy())
    assert torch.equal(extract_features(images[:, :1], extractor=toy()), colour)


def test_images_of_another_kind_are_refused(toy: Call) -> None:
    with pytest.raises(UserError, match=r"toy reads images \(C, H, W\) of 1 channels, but got 3"):
        extract_features(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), extractor=toy(channels=1))
    with pytest.raises(UserError, match=r"toy reads images \(C, H, W\), but got \(3, 8, 4, 4\)"):
        extract_features(torch.zeros(2, 3, 8, 4, 4, dtype=torch.uint8), extractor=toy())
    with pytest.raises(UserError, match="at least 1 image, but got 0"):
        extract_features(torch.zeros(0, 3, 4, 4, dtype=torch.uint8), extractor=toy())


def authors_dinov2(width: int = 128, *, depth: int = 2, side: int = 37) -> dict[str, Tensor]:
    """Random weights by the names of the authors' files."""
    linear = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
    linear |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width), "mask_token": (1, width)}
    shapes |= {"pos_embed": (1, 1 + side**2, width), "norm.weight": (width,), "norm.bias": (width,)}
    shapes |= {"patch_embed.proj.weight": (width, 3, 14, 14), "patch_embed.proj.bias": (width,)}
    for block in range(depth):
        vectors = ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma")
        shapes |= {f"blocks.{block}.{name}": (width,) for name in vectors}
        shapes |= {f"blocks.{block}.{name}.weight": shape for name, shape in linear.items()}
        shapes |= {f"blocks.{block}.{name}.bias": shape[:1] for name, shape in linear.items()}
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) / shape[-1] ** 0.5 for name, shape in shapes.items()}


def as_published(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """The authors' forward pass of normalised images (B, 3, 224, 224), heads of 64 channels: (B, D) class tokens."""

    def norm(tokens: Tensor, name: str) -> Tensor:
        return F.layer_norm(tokens, tokens.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)

    def linear(tokens: Tensor, name: str) -> Tensor:
        return F.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])

    patches = F.conv2d(images, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=14)
    tokens = torch.cat((weights["cls_token"].expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)), 1)
    of_class, of_patches = weights["pos_embed"].split((1, 37**2), dim=1)
    square = of_patches.unflatten(1, (37, 37)).permute(0, 3, 1, 2)
    square = F.interpolate(square, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic")
    tokens = tokens + torch.cat((of_class, square.flatten(2).transpose(1, 2)), 1)
    for block in (f"blocks.{number}" for number in range(2)):
        qkv = linear(norm(tokens, f"{block}.norm1"), f"{block}.attn.qkv").unflatten(-1, (3, -1, 64))
        mixed = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4)).transpose(1, 2).flatten(2)
        tokens = tokens + linear(mixed, f"{block}.attn.proj") * weights[f"{block}.ls1.gamma"]
        inner = F.gelu(linear(norm(tokens, f"{block}.norm2"), f"{block}.mlp.fc1"))
        tokens = tokens + linear(inner, f"{block}.mlp.fc2") * weights[f"{block}.ls2.gamma"]
    return norm(tokens, "norm")[:, 0]


def test_dinov2_computes_what_its_authors_compute() -> None:
    weights = authors_dinov2()
    colour = torch.tensor([10, 90, 200], dtype=torch.uint8).view(1, 3, 1, 1)
    images = colour.expand(2, 3, 17, 17).clone()
    images[1] = 255 - images[1]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    flat = (images[..., :1, :1] / 255 - mean) / std
    expected = as_published(weights, flat.expand(2, 3, 224, 224))
    torch.testing.assert_close(Dinov2Features(weights)(images), expected, rtol=1e-4, atol=1e-4)


def test_dinov2_is_known_by_its_authors_weights_and_lacks_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = authors_dinov2()
    for name, missing in (("whole", ()), ("part", ("norm.bias",))):
        path = tmp_path / f"{name}.pth"
        torch.save({key: value for key, value in weights.items() if key not in missing}, path)
        known = PublishedWeights(url="https://example.invalid/dinov2.pth", sha256=file_sha256(path))
        monkeypatch.setattr(extractors, "DINOV2_WEIGHTS", known)
        if missing:
            with pytest.raises(UserError, match="lacks 1 weights of its architecture"):
                create_extractor("dinov2", device=CPU, weights=str(path))
        else:
            found = create_extractor("dinov2", device=CPU, weights=str(path))
            assert found.digest == weights_digest({f"model.{key}": value for key, value in weights.items()})


def test_dinov2_without_transformers_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r'transformers is not installed; pip install "flexsearch\[text\]"'):
        Dinov2Features(authors_dinov2(depth=0))


def test_missing_or_damaged_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"objectives\.quality\.weights: .*none\.pt: does not exist"):
        create_extractor("inception", device=CPU, weights=str(tmp_path / "none.pt"))
    (tmp_path / "bad.safetensors").write_bytes(b"xxxx")
    with pytest.raises(UserError, match=r"bad\.safetensors: cannot be read"):
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
    assert found.digest == weights_digest(network.state_dict())
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
