"""PixArt-alpha against the properties of every backbone, and what is its own: text at every density, sizes."""

from typing import Any, ClassVar

import pytest
import torch
from backbone_suite import SPARSE
from builders import TEXT
from joint_suite import Variant
from width_suite import WidthSuite

from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT


class TestPixArt(WidthSuite):
    backbone = "pixart"
    checkpoints = ("PixArt-alpha/PixArt-XL-2-256x256", "PixArt-alpha/PixArt-XL-2-512x512")
    config = TEXT

    def test_every_block_reads_the_text_at_its_density(self, model: FlexDiT) -> None:
        inputs = self.inputs()
        with torch.inference_mode():
            for block in range(6):
                attention = model.base.transformer_blocks[block].attn2
                before, expected = attention.to_out[0].weight.clone(), model(**inputs).sample
                attention.to_out[0].weight.zero_()
                assert not torch.allclose(model(**inputs).sample, expected), block
                attention.to_out[0].weight.copy_(before)

    def test_padding_is_not_read(self, model: FlexDiT) -> None:
        inputs = self.inputs()
        inputs["encoder_attention_mask"][:, 7:] = 0
        with torch.inference_mode():
            expected = model(**inputs).sample
            inputs["encoder_hidden_states"][:, 7:] = 5.0
            torch.testing.assert_close(model(**inputs).sample, expected)
            shorter = {**inputs, "encoder_hidden_states": inputs["encoder_hidden_states"][:, :7]}
            del shorter["encoder_attention_mask"]
            torch.testing.assert_close(model(**shorter).sample, expected, rtol=1e-4, atol=1e-4)

    def test_a_missing_caption_is_named(self, model: FlexDiT) -> None:
        inputs = self.inputs()
        del inputs["encoder_hidden_states"]
        with pytest.raises(UserError, match="encoder_hidden_states"):
            model(**inputs)


class TestPixArtWithSizes(Variant, TestPixArt):
    """The 1024-pixel models, which also read the image's size."""

    checkpoints = ("PixArt-alpha/PixArt-XL-2-1024-MS",)
    config: ClassVar = {**TEXT, "use_additional_conditions": True}

    def of_base(self, inputs: dict[str, Any]) -> dict[str, Any]:
        sizes = {name: inputs[name] for name in ("resolution", "aspect_ratio")}
        return {**{name: value for name, value in inputs.items() if name not in sizes}, "added_cond_kwargs": sizes}

    def test_the_size_matters_and_must_be_given(self, model: FlexDiT) -> None:
        inputs = self.inputs()
        with torch.inference_mode():
            expected = model(**inputs).sample
            assert not torch.allclose(model(**{**inputs, "resolution": inputs["resolution"] * 2}).sample, expected)
        del inputs["resolution"]
        with pytest.raises(UserError, match="resolution"):
            model(**inputs)


@pytest.mark.usefixtures("double_precision")
def test_it_drops_into_diffusers_pipeline() -> None:
    """PixArtAlphaPipeline draws the same images with FlexDiT all-dense as with its own transformer, and runs sparse."""
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, PixArtAlphaPipeline, PixArtTransformer2DModel

    dense = PixArtTransformer2DModel(**TEXT).eval()
    vae = AutoencoderKL(latent_channels=4, block_out_channels=(8,), norm_num_groups=4).eval()
    text = {
        "prompt_embeds": torch.randn(1, 9, 20),
        "negative_prompt_embeds": torch.randn(1, 9, 20),
        "prompt_attention_mask": torch.ones(1, 9, dtype=torch.int64),
        "negative_prompt_attention_mask": torch.ones(1, 9, dtype=torch.int64),
    }

    def images(transformer: torch.nn.Module) -> torch.Tensor:
        scheduler = DPMSolverMultistepScheduler()
        pipeline = PixArtAlphaPipeline(
            tokenizer=None, text_encoder=None, vae=vae, transformer=transformer, scheduler=scheduler
        )
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(0)
        drawn = pipeline(
            negative_prompt=None,
            num_inference_steps=2,
            height=16,
            width=16,
            generator=generator,
            output_type="np",
            use_resolution_binning=False,
            **text,
        )
        return torch.from_numpy(drawn.images)

    expected = images(dense)
    model = FlexDiT.from_base(dense, backbone="pixart")
    torch.testing.assert_close(images(model), expected, rtol=1e-9, atol=1e-9)
    model.set_schedule(SPARSE)
    assert images(model).shape == expected.shape
