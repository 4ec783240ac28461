"""The video extractor: a TorchScript network given by path, and the distance called FVD."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from flexsearch.errors import UserError
from flexsearch.objectives.extractors import create_extractor
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.frechet import feature_statistics
from flexsearch.objectives.quality import Evaluator, measure_quality
from flexsearch.objectives.reference import Reference
from flexsearch.objectives.video import resized_videos

CPU = torch.device("cpu")


class LikeI3d(nn.Module):
    """I3D's arguments; the mean of each of the first and last frame's channels."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(
        self, videos: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> Tensor:
        if rescale or resize or not return_features:
            return torch.zeros(len(videos), 1)
        side = torch.full((len(videos), 1), float(videos.shape[-1]))
        return torch.cat((videos[:, :, 0].mean((2, 3)), videos[:, :, -1].mean((2, 3)) * self.scale, side), 1)


class Plain(nn.Module):
    """Takes the tensor alone."""

    def forward(self, videos: Tensor) -> Tensor:
        return videos.mean((3, 4)).flatten(1)


class Wrong(nn.Module):
    """Features of no use."""

    def forward(self, videos: Tensor) -> Tensor:
        return videos.mean()


def script(network: nn.Module, path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.script(network).save(str(path))
    return str(path)


def videos(num: int) -> Tensor:
    return torch.randint(0, 256, (num, 3, 5, 16, 16), dtype=torch.uint8)


def test_a_network_like_i3d_is_asked_for_features_of_ready_videos(tmp_path: Path) -> None:
    extractor = create_extractor("video", device=CPU, weights=script(LikeI3d(), tmp_path / "i3d.pt"))
    given = torch.zeros(9, 3, 5, 16, 16, dtype=torch.uint8)
    given[:, 0] = 255
    features = extract_features(given, extractor=extractor, batch=9)
    expected = torch.tensor([1.0, -1.0, -1.0, 2.0, -2.0, -2.0, 224.0])
    torch.testing.assert_close(features, expected.expand(9, -1))
    wide = torch.zeros(1, 3, 2, 8, 24)
    wide[..., 8:16] = 1
    assert torch.equal(resized_videos(wide, 8), torch.ones(1, 3, 2, 8, 8)), "wide videos lose their sides"


def test_the_frechet_distance_is_called_fvd_and_is_zero_for_the_same_videos(tmp_path: Path) -> None:
    extractor = create_extractor("video", device=CPU, weights=script(Plain(), tmp_path / "plain.pt"))
    drawn = videos(12)
    reference = Reference.of_statistics(feature_statistics(extract_features(drawn, extractor=extractor)))
    (found,) = measure_quality(
        drawn, evaluators=[Evaluator(extractor=extractor, reference=reference, metrics=("frechet",))], batch=4
    )
    assert found.name == "fvd"
    assert found.value == pytest.approx(0, abs=1e-4)
    assert found.protocol["extractor"] == "video"
    assert extract_features(drawn[:, :1], extractor=extractor).shape == (12, 15), "grey videos are read too"
    other = create_extractor("video", device=CPU, weights=script(Wrong(), tmp_path / "wrong.pt"))
    assert other.digest != extractor.digest


def test_what_is_missing_or_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"objectives\.quality\.weights: is missing.*i3d_torchscript\.pt"):
        create_extractor("video", device=CPU)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "tensors.pt")
    with pytest.raises(UserError, match=r"tensors\.pt: must be a TorchScript network"):
        create_extractor("video", device=CPU, weights=str(tmp_path / "tensors.pt"))
    path = script(Wrong(), tmp_path / "wrong.pt")
    with pytest.raises(UserError, match="starts with 'abc', but got"):
        create_extractor("video", device=CPU, weights=path, weights_sha256="abc")
    (tmp_path / "strange.pt").write_bytes(b"no network at all")
    with pytest.raises(UserError, match="starts with 'abc', but got"):  # before it is opened: a network is a program
        create_extractor("video", device=CPU, weights=str(tmp_path / "strange.pt"), weights_sha256="abc")
    extractor = create_extractor("video", device=CPU, weights=path)
    with pytest.raises(UserError, match=r"must give features \(B, D\)"):
        extract_features(videos(2), extractor=extractor)
    with pytest.raises(UserError, match=r"video reads videos \(C, F, H, W\), but got \(3, 16, 16\)"):
        extract_features(videos(2)[:, :, 0], extractor=extractor)


def test_whoever_is_shown_the_extractor_is_told_to_give_a_hash() -> None:
    """Its weights are a program."""
    root = Path(__file__).parents[2]
    shown = [file for file in (*root.glob("search_spaces/*.yaml"), *root.glob("docs/**/*.md")) if _shows(file)]
    assert shown
    assert all("weights_sha256" in file.read_text() for file in shown)


def _shows(file: Path) -> bool:
    return "extractor: video" in file.read_text()
