"""Wan against the properties of every backbone, and what is its own: places in space and time, and what is refused."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from backbone_suite import SEGMENTS, SPARSE, TWO_MERGES, BackboneSuite
from builders import WAN
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel

from flexsearch.diffusion.sampling import denoise, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import UserError
from flexsearch.models.architectures.wan import shape_of
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import load_base
from flexsearch.models.settings import BaseSettings, base_shape
from flexsearch.models.tokens import downsample
from flexsearch.schedule import Sampling
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.timetable import Timetable

FEWER_FRAMES = DensitySchedule(segments=SEGMENTS, timetable=Timetable(grids=(3,), frames=2))


class TestWan(BackboneSuite):
    backbone = "wan"
    checkpoints = ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "Wan-AI/Wan2.2-TI2V-5B-Diffusers")
    config = WAN
    schedules = (
        *BackboneSuite.schedules,
        FEWER_FRAMES,
        DensitySchedule(segments=TWO_MERGES, timetable=Timetable(grids=(8,), frames=1)),
    )

    def held_beside(self, base: Any) -> int:
        return 0

    def mixers(self, model: FlexDiT, block: int) -> list[Any]:
        return [model.base.blocks[block].attn1]

    @contextmanager
    def captions_projected(self, model: FlexDiT) -> Iterator[list[int]]:
        rows: list[int] = []
        embedder = model.base.condition_embedder.text_embedder
        hook = embedder.register_forward_pre_hook(lambda _, arguments: rows.append(len(arguments[0])))
        yield rows
        hook.remove()

    def test_all_frames_meet_in_every_block(self, model: FlexDiT) -> None:
        inputs = self.inputs()
        with torch.inference_mode():
            before = model(**inputs).sample
            inputs["hidden_states"][:, :, 2] += 1.0
            assert not torch.allclose(model(**inputs).sample[:, :, 0], before[:, :, 0])

    def test_a_shorter_video_runs(self, model: FlexDiT) -> None:
        inputs = self.inputs()
        inputs["hidden_states"] = inputs["hidden_states"][:, :, :2]
        with torch.inference_mode():
            assert model(**inputs).sample.shape[2] == 2

    def test_places_rotate_as_diffusers_table_and_average_like_tokens(self, model: FlexDiT) -> None:
        parts, sample = model._parts, torch.zeros(1, 4, 4, 16, 24)
        grid, sparse = TokenGrid(frames=4, height=8, width=12), TokenGrid(frames=2, height=4, width=6)
        places = parts.open(sample, torch.zeros(1), {}, None, []).places
        assert places is not None
        for ours, theirs in zip(parts.rotary(places), model.base.rope(sample), strict=True):
            assert torch.equal(ours.repeat_interleave(2, dim=-1).transpose(1, 2), theirs)
        pooled = downsample(places, grid, sparse).unflatten(1, (2, 4, 6))
        assert torch.equal(pooled[0, 1, 2, 3], torch.tensor([2.5, 4.5, 6.5])), "the mean of 2 x 2 x 2 places"
        angle = parts.rotary(torch.tensor([[[0.5, 0.0, 0.0]]]))[0][0, 0, 0, 0]
        torch.testing.assert_close(angle, torch.tensor(0.5).cos())

    def test_a_time_for_every_token_is_refused(self, model: FlexDiT) -> None:
        inputs = self.inputs()
        inputs["timestep"] = torch.full((3, 256), 700.0)
        with pytest.raises(UserError, match="timestep: must be one for every video"):
            model(**inputs)
        with pytest.raises(UserError, match="timestep: must be one for every video"):
            model(**inputs, graph=model.graphs()[0])
        with pytest.raises(UserError, match="encoder_hidden_states_image"):
            model(**self.inputs(), encoder_hidden_states_image=torch.zeros(3, 1, 20))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("in_channels", 9),
        ("image_dim", 1280),
        ("patch_size", (2, 2, 2)),
        ("sample_size", (4, 15, 16)),
        ("sample_size", 16),
        ("qk_norm", None),
    ],
)
def test_other_kinds_are_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=option):
        shape_of({**WAN, option: value})


def test_two_transformers_are_refused_by_name(tmp_path: Path) -> None:
    published = BaseSettings(checkpoint="Wan-AI/Wan2.2-T2V-A14B-Diffusers", backbone="wan")
    (tmp_path / "transformer_2").mkdir()
    for settings in (published, BaseSettings(checkpoint=str(tmp_path), backbone="wan")):
        for act in (base_shape, load_base):
            with pytest.raises(UserError, match=r"base\.checkpoint: .* has two transformers"):
                act(settings)


def test_the_size_of_videos_is_the_pipelines_or_given(tmp_path: Path) -> None:
    """A configuration of diffusers has none; what is planned is what is loaded and saved."""
    config = {name: value for name, value in WAN.items() if name != "sample_size"}
    WanTransformer3DModel.from_config(config).save_pretrained(tmp_path / "transformer", safe_serialization=True)
    options = {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}
    UniPCMultistepScheduler(**options).save_pretrained(tmp_path / "scheduler")
    settings = BaseSettings(checkpoint=str(tmp_path), backbone="wan")
    assert base_shape(settings).grid == TokenGrid(frames=21, height=30, width=52)
    settings = BaseSettings(checkpoint=str(tmp_path), backbone="wan", sample_size=(4, 8, 12))
    model = load_base(settings).model
    assert base_shape(settings) == model.shape
    assert model.shape.sample_size == (4, 4, 8, 12)
    model.save_pretrained(tmp_path / "saved", safe_serialization=True)
    assert FlexDiT.from_pretrained(tmp_path / "saved").shape == model.shape
    with pytest.raises(UserError, match=r"base\.sample_size: is in the configuration"):
        BaseSettings(checkpoint="facebook/DiT-XL-2-256", sample_size=32)


def test_it_draws_what_diffusers_pipeline_draws() -> None:
    """WanPipeline, with FlexDiT in place of its transformer and by our own loop, under its scheduler and guidance."""
    dense = WanTransformer3DModel.from_config(WAN).eval()
    model = FlexDiT.from_base(copy.deepcopy(dense), backbone="wan").eval()
    options = {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}
    noise, given, none = torch.randn(2, 4, 4, 16, 16), torch.randn(2, 9, 20), torch.randn(2, 9, 20)
    vae = AutoencoderKLWan(base_dim=4, z_dim=4, dim_mult=[1, 1], num_res_blocks=1, temperal_downsample=[True])

    def drawn(transformer: torch.nn.Module) -> torch.Tensor:
        pipeline = WanPipeline(
            tokenizer=None,
            text_encoder=None,
            vae=vae,
            transformer=transformer,
            scheduler=UniPCMultistepScheduler(**options),
        )
        pipeline.set_progress_bar_config(disable=True)
        latents: torch.Tensor = pipeline(
            prompt_embeds=given,
            negative_prompt_embeds=none,
            num_inference_steps=4,
            guidance_scale=3.0,
            height=128,
            width=128,
            num_frames=13,
            latents=noise,
            output_type="latent",
        ).frames
        return latents

    expected = drawn(dense)
    assert torch.equal(drawn(model), expected)
    scheduler, settings = UniPCMultistepScheduler(**options), SamplingSettings(guidance=3.0)
    condition, empty = ({"encoder_hidden_states": one} for one in (given, none))
    plan = plan_of(model, scheduler, Sampling(steps=4), settings)
    ours = denoise(model, scheduler, plan, noise=noise, condition=condition, none=empty, settings=settings)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    model.set_schedule(SPARSE)
    assert drawn(model).shape == expected.shape
