"""Feature extractors: networks whose features of images are compared.

`inception` is torch-fidelity's Inception v3: only a distance of its features is called FID. `fashion-cnn` is a small
classifier of Fashion-MNIST that ships with the package. `dinov2` is DINOv2's ViT-L/14, and needs the extra `text`, for
transformers. `video` is a TorchScript network of videos. Published weights are fetched on first use and checked by
their SHA-256.
"""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from flexsearch.errors import UserError, reading
from flexsearch.files import file_sha256
from flexsearch.models.pretrained import check_finite
from flexsearch.objectives.dinov2 import DINOV2_FEATURES, DINOV2_WEIGHTS, Dinov2Features
from flexsearch.objectives.fashion_cnn import FASHION_FEATURES, FashionFeatures
from flexsearch.objectives.video import WHERE, VideoFeatures
from flexsearch.objectives.weights import (
    FIELD,
    PublishedWeights,
    check_sha256,
    existing,
    load_tensors,
    published,
)

INCEPTION_WEIGHTS = PublishedWeights(url=URL_INCEPTION_V3, sha256="6726825d")

Loaded = tuple[nn.Module, str]
"""A network and the digest of its weights."""


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A feature network, on its device.

    Attributes:
        name: one of `objectives.quality.extractor`'s.
        network: from uint8 images (B, C, H, W), or videos (B, C, F, H, W), to features (B, D).
        device: where the network is.
        digest: identifies its weights.
        channels: C.
        num_features: D; None if only running it tells.
        reads_videos: whether it reads videos instead of images.
    """

    name: str
    network: nn.Module
    device: torch.device
    digest: str
    channels: int
    num_features: int | None = None
    reads_videos: bool = False


def create_extractor(
    name: str, *, device: torch.device, weights: str | None = None, weights_sha256: str | None = None
) -> Extractor:
    """Load the extractor `name` onto `device`.

    Args:
        name: "inception", "fashion-cnn", "dinov2" or "video".
        device: where it runs.
        weights: file with its weights; None takes the shipped or published ones.
        weights_sha256: the SHA-256 of that file, or its beginning; None does not check.

    Raises:
        UserError: an unknown name, or weights that cannot be had or are not those expected; says how to get them.
    """
    if name not in _KINDS:
        raise UserError(f"must be one of {sorted(_KINDS)}, but got {name!r}", field="objectives.quality.extractor")
    path = None if weights is None else existing(weights)
    if path is not None and weights_sha256 is not None:
        check_sha256(path, weights_sha256)
    load, channels, num_features = _KINDS[name]
    network, digest = load(path)
    return Extractor(
        name=name,
        network=network.to(device),
        device=device,
        digest=digest,
        channels=channels,
        num_features=num_features,
        reads_videos=name == "video",
    )


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Hash weights by name, to 12 hexadecimal digits."""
    content = hashlib.sha256()
    for name, value in sorted(weights.items()):
        content.update(name.encode())
        content.update(value.detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:12]


class _OnlyLayer(nn.Module):
    """The features of a torch-fidelity extractor of one layer."""

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor
        (features,) = self.extractor(images)
        return features


def _inception(path: Path | None) -> Loaded:
    tensors = io.BytesIO()  # torch-fidelity unpickles what it is given: let that be tensors and nothing else
    torch.save(load_tensors(published(INCEPTION_WEIGHTS, path=path)), tensors)
    tensors.seek(0)
    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=tensors)
    return _OnlyLayer(network), weights_digest(network.state_dict())


def _dinov2(path: Path | None) -> Loaded:
    weights = load_tensors(published(DINOV2_WEIGHTS, path=path))
    return Dinov2Features(weights), weights_digest({f"model.{name}": value for name, value in weights.items()})


def _fashion_cnn(path: Path | None) -> Loaded:
    with reading(f"{FIELD}: {path}"):
        network = FashionFeatures(path)
        check_finite(network.state_dict())
    return network, weights_digest(network.state_dict())


def _video(path: Path | None) -> Loaded:
    if path is None:
        raise UserError(f"is missing: the extractor video needs a TorchScript network, such as {WHERE}", field=FIELD)
    return VideoFeatures(path), file_sha256(path)[:12]


_KINDS: dict[str, tuple[Callable[[Path | None], Loaded], int, int | None]] = {  # loads, channels, features
    "inception": (_inception, 3, 2048),
    "fashion-cnn": (_fashion_cnn, 1, FASHION_FEATURES),
    "dinov2": (_dinov2, 3, DINOV2_FEATURES),
    "video": (_video, 3, None),
}
