"""Whole trials of PixArt-alpha and Latte: encoded pictures and captions, real training, decoding and distances."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from backbone_suite import randomised
from builders import MMDIT, PACKED, TEXT, VIDEO, Call, nothing
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    LatteTransformer3DModel,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
)
from PIL import Image

from flexsearch.data.check import check_conditions
from flexsearch.data.conditions import CaptionConditions
from flexsearch.data.shards import POOLED, UNCONDITIONAL, LatentIndex, shard_name, store
from flexsearch.errors import UserError
from flexsearch.export.drawable import load_model
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.settings import BaseSettings, base_shape
from flexsearch.trial.context import trial_context
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


def write_latents(folder: Path, *, frames: int | None, num: int = 24, pooled: int = 0) -> None:
    """What `flexsearch encode` writes of captioned pictures, without pictures."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(num, 4, *([frames] if frames else []), SIDE, SIDE, generator=generator).half()
    lengths = [3 + index % 5 for index in range(num)]
    rows = torch.randn(sum(lengths), CHANNELS, generator=generator).half()
    ends = torch.tensor(lengths).cumsum(0)
    tensors = {"latents": latents, "captions": rows, "caption_ends": ends}
    none = {"captions": torch.randn(1, CHANNELS).half()}
    captions = {"channels": CHANNELS, "max_tokens": 120, "resolution": [32, 32], "aspect_ratio": 1.0}
    if pooled:
        tensors[POOLED] = torch.randn(num, pooled, generator=generator).half()
        none[POOLED] = torch.randn(1, pooled, generator=generator).half()
        captions = {"channels": CHANNELS, "max_tokens": 7, "has_mask": False, "pooled_channels": pooled}
    shard, empty = store(folder / shard_name(0), tensors, items=num), store(folder / UNCONDITIONAL, none, items=1)
    index = LatentIndex(
        num_items=num,
        settings={},
        captions=captions,
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


@pytest.fixture(params=["flux", "sd3"])
def of_joint_attention(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """A base that embeds the scale of guidance, and one that is guided by a second row; data with pooled vectors."""
    common = {"joint_attention_dim": CHANNELS, "sample_size": SIDE}
    if request.param == "flux":
        transformer: Any = FluxTransformer2DModel.from_config(
            {**PACKED, **common, "num_single_layers": 6, "guidance_embeds": True}
        )
    else:
        transformer = SD3Transformer2DModel.from_config({**MMDIT, **common, "num_layers": 8})
    write_base(tmp_path / "base", transformer, FlowMatchEulerDiscreteScheduler(), channels=1)
    write_latents(tmp_path / "latents", frames=None, pooled=PACKED["pooled_projection_dim"])
    return {
        "base": {"checkpoint": str(tmp_path / "base"), "backbone": request.param},
        "data": {"name": "latents", "root": str(tmp_path / "latents")},
        "space": {"timetable": {"stages": 2, "clean_grid": 3, "noise_grid": 2}, "sampler_steps": 2},
        "objectives": {"quality": {"reference": "data"}},
        "sampling": {"guidance": 3.5},
    }


def test_captions_with_pooled_vectors(of_joint_attention: dict[str, Any], start: Call) -> None:
    order = start(**of_joint_attention)
    result = run_one(order)
    assert result.state == "complete"
    assert len(result.curve) == 2
    batch = trial_context(order.run_dir).stream(0).at(0)
    assert batch.condition["pooled_projections"].shape == (4, 10)
    embeds_guidance = of_joint_attention["base"]["backbone"] == "flux"
    assert batch.condition.get("guidance", torch.zeros(0)).tolist() == [3.5] * 4 * embeds_guidance


def test_captions_and_bases_must_fit(pixart: dict[str, Any], settings: Call, tmp_path: Path) -> None:
    other = PixArtTransformer2DModel(**TEXT | WIDE | {"caption_channels": 7})
    write_base(tmp_path / "base", other, DPMSolverMultistepScheduler(beta_schedule="linear"), channels=1)
    with pytest.raises(UserError, match="captions of 20 channels, but the base reads 7"):
        load_inputs(settings(**pixart))
    quickstart = {**pixart, "data": {"name": "quickstart"}}
    with pytest.raises(UserError, match=r"data: must be of shape \(4, 8, 8\)"):
        load_inputs(settings(**quickstart))
    shape = base_shape(BaseSettings(checkpoint="", backbone="pixart", config=TEXT))
    for length, channels, message in (
        (120, {"empty_pooled": torch.zeros(3)}, "with 3 channels of a pooled vector, but the base reads none"),
        (77, {}, "of 77 tokens with a mask, but the base reads 120 tokens with a mask"),
    ):
        captions = CaptionConditions(
            rows=torch.zeros(1, CHANNELS),
            ends=torch.tensor([1]),
            empty=torch.zeros(1, CHANNELS),
            max_tokens=length,
            **channels,
        )
        with pytest.raises(UserError, match=message):
            check_conditions(captions, shape)


@pytest.mark.parametrize("architecture", ["pixart", "latte"])
def test_the_architecture_of_a_base_is_read_from_its_folder(
    architecture: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(architecture)
    assert load_model(str(tmp_path / "base")).base.model.config["backbone"] == architecture
