"""Latte against the properties of every backbone, and what is its own: frames, and fewer of them."""

from typing import Any

import pytest
import torch
from backbone_suite import NUM_BLOCKS, SEGMENTS, SPARSE, TWO_MERGES
from builders import VIDEO
from width_suite import WidthSuite

from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.tokens import downsample, upsample
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.timetable import Timetable

FEWER_FRAMES = DensitySchedule(segments=SEGMENTS, timetable=Timetable(grids=(3,), frames=2))


class TestLatte(WidthSuite):
    backbone = "latte"
    checkpoints = ("maxin-cn/Latte-1",)
    config = VIDEO
    schedules = (
        *WidthSuite.schedules,
        FEWER_FRAMES,
        DensitySchedule(segments=TWO_MERGES, timetable=Timetable(grids=(8,), frames=1)),
        DensitySchedule(segments=(Sdtm(sparse=2, dense=2),), timetable=Timetable(grids=(5,), frames=2)),
    )

    def mixers(self, model: FlexDiT, block: int) -> list[Any]:
        return [*super().mixers(model, block), model.base.temporal_transformer_blocks[block].attn1]

    def of_base(self, inputs: dict) -> dict:
        """diffusers' own forward cannot take a mask of the caption; here every token is real."""
        return {name: value for name, value in inputs.items() if name != "encoder_attention_mask"}

    def test_frames_meet_only_in_temporal_blocks(self, model: FlexDiT) -> None:
        """Without what temporal blocks add, a frame does not see the others, at any density."""
        for block in model.base.temporal_transformer_blocks:
            for weight in block.attn1.to_out[0].parameters():
                torch.nn.init.zeros_(weight)
        inputs = self.inputs()
        with torch.inference_mode():
            before = model(**inputs).sample
            inputs["hidden_states"][:, :, 2] += 1.0
            after = model(**inputs).sample
        assert torch.equal(before[:, :, [0, 1, 3]], after[:, :, [0, 1, 3]])
        assert not torch.allclose(before[:, :, 2], after[:, :, 2])

    def test_fewer_sparse_frames_share_windows(self, model: FlexDiT) -> None:
        """With two sparse frames for four, frames 0 and 1 see each other even without temporal attention."""
        for block in model.base.temporal_transformer_blocks:
            for weight in block.attn1.to_out[0].parameters():
                torch.nn.init.zeros_(weight)
        model.set_schedule(FEWER_FRAMES)
        inputs = self.inputs()
        with torch.inference_mode():
            before = model(**inputs).sample
            inputs["hidden_states"][:, :, 0] += 1.0
            after = model(**inputs).sample
        assert not torch.allclose(before[:, :, 1], after[:, :, 1])
        assert torch.equal(before[:, :, 2:], after[:, :, 2:])

    def test_keeping_all_frames_is_the_default(self, model: FlexDiT) -> None:
        with torch.inference_mode():
            expected = model(**self.inputs(), graph=model.graphs()[0]).sample
            timetable = Timetable(edges=SPARSE.timetable.edges, grids=SPARSE.timetable.grids, frames=4)
            model.set_schedule(DensitySchedule(segments=SEGMENTS, timetable=timetable))
            assert torch.equal(model(**self.inputs(), graph=model.graphs()[0]).sample, expected)

    @pytest.mark.slow
    def test_fewer_frames_compile_too(self, model: FlexDiT) -> None:
        model.set_schedule(FEWER_FRAMES)
        with torch.inference_mode():
            expected = model(**self.inputs()).sample
            model.compile_stages(backend="eager")
            torch.testing.assert_close(model(**self.inputs()).sample, expected, rtol=1e-4, atol=1e-4)

    def test_a_shorter_video_runs(self, model: FlexDiT) -> None:
        inputs = self.inputs()
        inputs["hidden_states"] = inputs["hidden_states"][:, :, :2]
        with torch.inference_mode():
            assert model(**inputs).sample.shape[2] == 2


def test_pooling_in_time_is_the_mean_of_windows_and_upsampling_repeats() -> None:
    grid, sparse = TokenGrid(frames=4, height=8, width=8), TokenGrid(frames=2, height=4, width=4)
    tokens = torch.randn(2, grid.num_tokens, 3)
    video = tokens.reshape(2, 2, 2, 4, 2, 4, 2, 3)  # batch, window, frame, rows, row, columns, column, channel
    expected = video.mean(dim=(2, 4, 6))
    pooled = downsample(tokens, grid, sparse)
    torch.testing.assert_close(pooled.reshape(2, 2, 4, 4, 3), expected)
    back = upsample(pooled, sparse, grid).reshape(2, 2, 2, 4, 2, 4, 2, 3)
    torch.testing.assert_close(back, expected[:, :, None, :, None, :, None].expand_as(back))


def test_the_schedule_carries_frames() -> None:
    assert DensitySchedule.from_dict(FEWER_FRAMES.to_dict()) == FEWER_FRAMES
    assert str(FEWER_FRAMES) == "PMsRDD @3 2f"
    without = DensitySchedule(segments=SEGMENTS, timetable=Timetable(grids=(3,)))
    assert FEWER_FRAMES.digest != without.digest
    dense = DensitySchedule(segments=(Dense(depth=NUM_BLOCKS),), timetable=Timetable(grids=(3,), frames=2))
    assert dense.digest == DensitySchedule.all_dense(NUM_BLOCKS).digest


@pytest.mark.usefixtures("double_precision")
def test_it_drops_into_diffusers_pipeline() -> None:
    """LattePipeline draws the same video with FlexDiT all-dense as with its own transformer, and runs sparse."""
    from diffusers import AutoencoderKL, DDIMScheduler, LattePipeline, LatteTransformer3DModel

    dense = LatteTransformer3DModel(**TestLatte.config).eval()
    vae = AutoencoderKL(latent_channels=4, block_out_channels=(8,), norm_num_groups=4).eval()
    text = {name: torch.randn(1, 9, 20) for name in ("prompt_embeds", "negative_prompt_embeds")}

    def video(transformer: torch.nn.Module) -> torch.Tensor:
        pipeline = LattePipeline(
            tokenizer=None, text_encoder=None, vae=vae, transformer=transformer, scheduler=DDIMScheduler()
        )
        pipeline.set_progress_bar_config(disable=True)
        drawn = pipeline(
            negative_prompt=None,
            num_inference_steps=2,
            height=16,
            width=16,
            video_length=4,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
            clean_caption=False,
            mask_feature=False,
            **text,
        )
        frames: torch.Tensor = drawn.frames
        return frames

    expected = video(dense)
    model = FlexDiT.from_base(dense, backbone="latte")
    torch.testing.assert_close(video(model), expected, rtol=1e-9, atol=1e-9)
    model.set_schedule(SPARSE)
    assert video(model).shape == expected.shape
