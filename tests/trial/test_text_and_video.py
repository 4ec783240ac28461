"""Whole trials of PixArt-alpha and Latte: encoded pictures and captions, real training, decoding and distances."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from backbone_suite import randomised
from builders import TEXT, VIDEO, Call, nothing
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    LatteTransformer3DModel,
    PixArtTransformer2DModel,
)
from PIL import Image

from flexsearch.data.shards import UNCONDITIONAL, LatentIndex, shard_name, store
from flexsearch.errors import UserError
from flexsearch.export.drawable import load_model
from flexsearch.models.flexdit import FlexDiT
from flexsearch.trial.contract import TrialOrder, TrialResult
from flexsearch.trial.inputs import load_inputs
from flexsearch.trial.life import run_trial

pytestmark = pytest.mark.usefixtures("own_cache")
SIDE, FRAMES, CHANNELS = 8, VIDEO["video_length"], VIDEO["caption_channels"]
WIDE = {"attention_head_dim": 48, "num_layers": 8, "sample_size": SIDE, "cross_attention_dim": 96}


class Toy(torch.nn.Module):
    """A feature network for videos."""

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        return videos.mean(dim=(3, 4)).flatten(1)[:, :6]


def write_base(folder: Path, transformer: torch.nn.Module, scheduler: Any, *, channels: int) -> None:
    randomised(transformer).save_pretrained(folder / "transformer", safe_serialization=True)
    scheduler.save_pretrained(folder / "scheduler")
    vae = AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        latent_channels=4,
        block_out_channels=(8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        norm_num_groups=4,
    )
    vae.save_pretrained(folder / "vae", safe_serialization=True)


def write_latents(folder: Path, *, frames: int | None, num: int = 24) -> None:
    """What `flexsearch encode` writes of captioned pictures, without pictures."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(num, 4, *([frames] if frames else []), SIDE, SIDE, generator=generator).half()
    lengths = [3 + index % 5 for index in range(num)]
    rows = torch.randn(sum(lengths), CHANNELS, generator=generator).half()
    ends = torch.tensor(lengths).cumsum(0)
    shard = store(folder / shard_name(0), {"latents": latents, "captions": rows, "caption_ends": ends}, items=num)
    empty = store(folder / UNCONDITIONAL, {"captions": torch.randn(1, CHANNELS).half()}, items=1)
    index = LatentIndex(
        num_items=num,
        settings={},
        captions={"channels": CHANNELS, "max_tokens": 120, "resolution": [32, 32], "aspect_ratio": 1.0},
        unconditional=empty,
    )
    index.with_shards([shard], latent_shape=tuple(latents.shape[1:])).write(folder)


@pytest.fixture
def pixart(tmp_path: Path) -> dict[str, Any]:
    scheduler = DPMSolverMultistepScheduler(beta_schedule="linear")
    write_base(tmp_path / "base", PixArtTransformer2DModel(**TEXT | WIDE), scheduler, channels=1)
    write_latents(tmp_path / "latents", frames=None)
    return {
        "base": {"checkpoint": str(tmp_path / "base"), "backbone": "pixart"},
        "data": {"name": "latents", "root": str(tmp_path / "latents")},
        "space": {"timetable": {"stages": 2, "clean_grid": 3, "noise_grid": 2}, "sampler_steps": 2},
        "objectives": {"quality": {"reference": "data"}},
        "sampling": {"guidance": 4.5},
    }


@pytest.fixture
def latte(tmp_path: Path) -> dict[str, Any]:
    write_base(tmp_path / "base", LatteTransformer3DModel(**VIDEO | WIDE), DDIMScheduler(), channels=3)
    write_latents(tmp_path / "latents", frames=FRAMES)
    torch.jit.script(Toy()).save(str(tmp_path / "toy.pt"))
    return {
        "base": {"checkpoint": str(tmp_path / "base"), "backbone": "latte"},
        "data": {"name": "latents", "root": str(tmp_path / "latents")},
        "space": {"timetable": {"stages": 2, "clean_grid": 3, "noise_grid": 2, "frames": {"choice": [2, 4]}}},
        "objectives": {
            "quality": {"extractor": "video", "weights": str(tmp_path / "toy.pt"), "reference": "data", "images": 6},
            "latency": {"batch": 2},
        },
        "sampling": {"guidance": 7.5},
    }


def run_one(order: TrialOrder) -> TrialResult:
    assert not order.candidate.schedule.is_dense
    return run_trial(replace(order, baseline="not gated"), nothing)


def test_text_to_image(pixart: dict[str, Any], start: Call) -> None:
    order = start(**pixart)
    result = run_one(order)
    assert result.state == "complete"
    assert result.measurements["fid_fashion_cnn"].value > 0
    assert len(result.curve) == 2
    with Image.open(order.trial_dir / "samples.png") as samples:
        assert samples.size == (10 * (4 * SIDE + 1) + 1, 2 * (4 * SIDE + 1) + 1), "20 pictures, decoded"
    kept = FlexDiT.from_pretrained(order.trial_dir / "model")
    assert kept.config["backbone"] == "pixart"


def test_text_to_video(latte: dict[str, Any], start: Call) -> None:
    order = start(**latte)
    result = run_one(order)
    assert result.state == "complete"
    assert result.measurements["fvd"].value > 0
    assert FlexDiT.from_pretrained(order.trial_dir / "model").schedule.timetable.frames == 2


def test_captions_and_bases_must_fit(pixart: dict[str, Any], settings: Call, tmp_path: Path) -> None:
    other = PixArtTransformer2DModel(**TEXT | WIDE | {"caption_channels": 7})
    write_base(tmp_path / "base", other, DPMSolverMultistepScheduler(beta_schedule="linear"), channels=1)
    with pytest.raises(UserError, match="captions of 20 channels, but the base reads 7"):
        load_inputs(settings(**pixart))
    quickstart = {**pixart, "data": {"name": "quickstart"}}
    with pytest.raises(UserError, match=r"data: must be of shape \(4, 8, 8\)"):
        load_inputs(settings(**quickstart))


@pytest.mark.parametrize("architecture", ["pixart", "latte"])
def test_the_architecture_of_a_base_is_read_from_its_folder(
    architecture: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(architecture)
    assert load_model(str(tmp_path / "base")).base.model.config["backbone"] == architecture
