"""Feature extractors: networks whose features of images are compared, under torch-fidelity's interface.

`inception` is torch-fidelity's Inception v3: only a distance of its features is called FID. `fashion-cnn` is a small
classifier of Fashion-MNIST that ships with the package. `dinov2` is DINOv2's ViT-L/14. `video` is a TorchScript network
of videos. Published weights are fetched on first use and checked by their SHA-256.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from flexsearch.errors import UserError
from flexsearch.files import file_sha256
from flexsearch.objectives.dinov2 import DINOV2_FEATURES, DINOV2_WEIGHTS, Dinov2, Dinov2Features
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
_FEATURES = {"inception": 2048, "fashion-cnn": FASHION_FEATURES, "dinov2": DINOV2_FEATURES, "video": None}


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A feature network, on its device.

    Attributes:
        name: one of `objectives.quality.extractor`'s.
        network: uint8 images (B, C, H, W), or videos (B, C, F, H, W), to a tuple of features (B, D).
        device: where the network is.
        digest: identifies its weights.
        channels: C.
        num_features: D; None if only running it tells.
        reads_videos: whether it reads videos instead of images.
    """

    name: str
    network: FeatureExtractorBase
    device: torch.device
    digest: str
    channels: int
    num_features: int | None = None
    reads_videos: bool = False


def create_extractor(
    name: str, *, device: torch.device, weights: str | None = None, weights_sha256: str | None = None
) -> Extractor:
    """The extractor `name`, on `device`.

    Args:
        name: "inception", "fashion-cnn", "dinov2" or "video".
        device: where it runs.
        weights: file with its weights; None takes the shipped or published ones.
        weights_sha256: the SHA-256 of that file, or its beginning; None does not check.

    Raises:
        UserError: an unknown name, or weights that cannot be had or are not those expected; says how to get them.
    """
    path = None if weights is None else existing(weights)
    if path is not None and weights_sha256 is not None:
        check_sha256(path, weights_sha256)
    match name:
        case "inception":
            network = _inception(path)
        case "fashion-cnn":
            network = _fashion_cnn(path)
        case "dinov2":
            network = _dinov2(path)
        case "video":
            network = _video(path)
        case _:
            raise UserError(
                f"must be one of {sorted(_FEATURES)}, but got {name!r}", field="objectives.quality.extractor"
            )
    return Extractor(
        name=name,
        network=network.to(device),
        device=device,
        digest=weights_digest(network) if name != "video" or path is None else file_sha256(path)[:12],
        channels=1 if name == "fashion-cnn" else 3,
        num_features=_FEATURES[name],
        reads_videos=name == "video",
    )


def _inception(path: Path | None) -> FeatureExtractorBase:
    path = published(INCEPTION_WEIGHTS, path=path)
    tensors = io.BytesIO()  # torch-fidelity unpickles what it is given: let that be tensors and nothing else
    torch.save(load_tensors(path), tensors)
    tensors.seek(0)
    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=tensors)


def _dinov2(path: Path | None) -> FeatureExtractorBase:
    network = Dinov2()
    network.load_state_dict(load_tensors(published(DINOV2_WEIGHTS, path=path)))
    return Dinov2Features("dinov2-vit-l-14", network)


def _fashion_cnn(path: Path | None) -> FeatureExtractorBase:
    try:
        return FashionFeatures("flexsearch-fashion-cnn", ["features"], weights=path)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{FIELD} {path} could not be read ({reason})", field="objectives.quality.extractor") from None


def _video(path: Path | None) -> FeatureExtractorBase:
    if path is None:
        raise UserError(f"is missing: the extractor video needs a TorchScript network, such as {WHERE}", field=FIELD)
    return VideoFeatures("flexsearch-video", path)


def weights_digest(network: nn.Module) -> str:
    """Identifies a network's weights."""
    content = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        content.update(key.encode())
        content.update(value.detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:12]
