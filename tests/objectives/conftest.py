"""A feature network small enough to check by hand, and a cache of its own for every test."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from flexsearch.objectives.extractors import Extractor, weights_digest

CPU = torch.device("cpu")


class MeanAndCorners(nn.Module):
    """Four features of an image: its mean, and three of its pixels. Counts the images it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(1 / 255))
        self.num_seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.num_seen += len(images)
        pixels = images.float().flatten(1) * self.scale
        return torch.stack((pixels.mean(1), pixels[:, 0], pixels[:, 5], pixels[:, -1]), dim=1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of computed references."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "flexsearch" / "references"


@pytest.fixture
def toy(cache: Path) -> Callable[..., Extractor]:
    """Makes a toy extractor; its `network.num_seen` counts images."""

    def make(*, channels: int = 3, name: str = "toy") -> Extractor:
        network = MeanAndCorners()
        return Extractor(
            name=name,
            network=network,
            device=CPU,
            digest=weights_digest(network.state_dict()),
            channels=channels,
            num_features=4,
        )

    return make
