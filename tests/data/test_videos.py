"""Videos: folders of frames become latents (C, F, h, w)."""

from pathlib import Path

import pytest
import torch
from builders import Call

from flexsearch.data.crop import read_cropped
from flexsearch.data.images import tiles
from flexsearch.data.latents import LatentFolder
from flexsearch.models.autoencoder import Autoencoder

CLOSE = {"rtol": 2e-3, "atol": 2e-3}  # float16
NUM_FRAMES = {"sea/calm": 5, "sea/storm": 3, "sky/clouds": 9, "sky/stars": 4}


@pytest.fixture
def videos(save_images: Call) -> Path:
    return save_images([f"{name}/{number}.png" for name, num in NUM_FRAMES.items() for number in range(num)])


@pytest.mark.parametrize("batch", [1, 2, 7, 100])
def test_latents_of_videos(encode: Call, autoencoder: Autoencoder, videos: Path, tmp_path: Path, batch: int) -> None:
    assert encode(videos, tmp_path / "out", frames=3, batch=batch).num_images == 4 * 3
    found = LatentFolder(tmp_path / "out")
    latents = found.clean(torch.arange(4))
    assert latents.shape == (4, 4, 3, 4, 4)
    assert found.index.latent_shape == (4, 3, 4, 4)
    assert found.labels.tolist() == [0, 0, 1, 1]
    for item, (name, num) in enumerate(NUM_FRAMES.items()):
        noise = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(item))
        for frame, number in enumerate((0, (num - 1) // 2, num - 1)):
            pixels = read_cropped(videos / name / f"{number}.png", (3, 8, 8))
            mean, std = autoencoder.posterior(pixels[None].float() / 127.5 - 1)
            torch.testing.assert_close(latents[item, :, frame], mean[0] + std[0] * noise[:, frame], **CLOSE)


def test_videos_with_captions(encode: Call, videos: Path, tmp_path: Path) -> None:
    for name in NUM_FRAMES:
        (videos / f"{name}.txt").write_text("a red moon")
    encode(videos, tmp_path / "out", frames=2)
    found = LatentFolder(tmp_path / "out")
    assert found.clean(torch.tensor([3])).shape == (1, 4, 2, 4, 4)
    assert found.condition(torch.tensor([3]))["encoder_attention_mask"].sum() == 4


@pytest.mark.parametrize(("num", "shown"), [(5, [0, 1, 2, 3, 4]), (10, [*range(10)]), (19, [*range(0, 19, 2)])])
def test_a_row_of_a_picture_is_a_video(num: int, shown: list[int]) -> None:
    """Ten frames of it, or all of them, and nothing behind."""
    videos = (1 + torch.arange(num, dtype=torch.uint8)).view(1, 1, num, 1, 1).expand(2, 3, num, 4, 5)
    found = tiles(videos)
    assert found.shape == (20, 3, 4, 5)
    assert found[:10, 0, 0, 0].tolist() == [1 + one for one in shown] + [0] * (10 - len(shown))
    assert torch.equal(found[:10], found[10:])
