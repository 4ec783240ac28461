"""SANA against the properties of every backbone, and what is its own: linear attention, a convolution in the MLP."""

import copy
from typing import Any, ClassVar

import pytest
import torch
from backbone_suite import NUM_BLOCKS, SPARSE, BackboneSuite
from builders import SANA
from diffusers import AutoencoderDC, DPMSolverMultistepScheduler, SanaPipeline, SanaTransformer2DModel
from diffusers.models.attention_processor import AttnProcessor2_0, SanaLinearAttnProcessor2_0
from diffusers.models.transformers.sana_transformer import SanaAttnProcessor2_0
from joint_suite import Variant

from flexsearch.diffusion.sampling import denoise, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import UserError
from flexsearch.models.architectures.sana import shape_of
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule import Sampling
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.pooling import Pooling


class TestSana(BackboneSuite):
    backbone = "sana"
    checkpoints = (
        "Efficient-Large-Model/Sana_600M_512px_diffusers",
        "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
        "Efficient-Large-Model/Sana_1600M_4Kpx_BF16_diffusers",
    )
    config = SANA

    def held_beside(self, base: Any) -> int:
        table = getattr(base.patch_embed, "pos_embed", None)
        return 0 if table is None else table.numel()

    def test_pooling_equals_attention_with_uniform_weights(self) -> None:  # type: ignore[override]
        """Rectified queries and keys of ones make every weight of linear attention equal."""
        base = SanaTransformer2DModel.from_config({**SANA, "attention_bias": True}).eval()
        for block in base.transformer_blocks:
            for part in (block.attn1.to_q, block.attn1.to_k):
                torch.nn.init.zeros_(part.weight)
                torch.nn.init.ones_(part.bias)
        schedule = DensitySchedule(segments=(Pooling(depth=NUM_BLOCKS),))
        pooled = FlexDiT.from_base(copy.deepcopy(base), backbone="sana", schedule=schedule).eval()
        with torch.inference_mode():
            expected = base(**self.inputs()).sample
            torch.testing.assert_close(pooled(**self.inputs()).sample, expected, rtol=1e-4, atol=1e-4)

    def test_padding_is_not_read(self, model: FlexDiT) -> None:
        inputs = self.inputs()
        inputs["encoder_attention_mask"][:, 5:] = 0
        with torch.inference_mode():
            expected = model(**inputs).sample
            inputs["encoder_hidden_states"][:, 5:] = 5.0
            torch.testing.assert_close(model(**inputs).sample, expected)

    def test_neighbours_meet_in_the_mlp(self, model: FlexDiT) -> None:
        """Where attention adds nothing, a token sees those around it and no others, however many blocks are sparse."""
        for block in model.base.transformer_blocks:
            for attention in (block.attn1, block.attn2):
                for weight in attention.to_out[0].parameters():
                    torch.nn.init.zeros_(weight)
        model.set_schedule(DensitySchedule.all_dense(NUM_BLOCKS))
        inputs = self.inputs(height=32, width=32)
        with torch.inference_mode():
            before = model(**inputs).sample
            inputs["hidden_states"][:, :, :2, :2] += 1.0
            moved = (model(**inputs).sample - before).abs().amax(dim=(0, 1)) > 0
        assert moved[:4, :4].all()
        assert not moved[14:].any(), "six blocks reach six tokens of two pixels"


@pytest.mark.parametrize(
    ("name", "own", "other"),
    [
        ("attn1", SanaLinearAttnProcessor2_0, SanaAttnProcessor2_0),
        ("attn1", SanaLinearAttnProcessor2_0, AttnProcessor2_0),
        ("attn2", SanaAttnProcessor2_0, SanaLinearAttnProcessor2_0),
    ],
)
def test_each_attention_has_its_own_processor(name: str, own: Any, other: Any) -> None:
    """What is another attention's default would change the base and not us."""
    suite = TestSana()
    model = FlexDiT.from_base(SanaTransformer2DModel.from_config(SANA), backbone="sana").eval()
    attention = getattr(model.base.transformer_blocks[1], name)
    with torch.inference_mode():
        attention.set_processor(own())
        model(**suite.inputs())
        attention.set_processor(other())
        with pytest.raises(UserError, match=rf"\.1\.{name}: has the processor {other.__name__}, .*: {own.__name__}$"):
            model(**suite.inputs())


class TestSana15(Variant, TestSana):
    """SANA 1.5, which norms queries and keys of both attentions."""

    checkpoints = ("Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers",)
    config: ClassVar = {**SANA, "qk_norm": "rms_norm_across_heads"}

    test_pooling_equals_attention_with_uniform_weights: ClassVar[Any] = None  # norms would change the ones


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(
            ("guidance_embeds", True),
            ("timestep_scale", 1000.0),
            ("qk_norm", "layer_norm"),
            ("cross_attention_dim", 12),
        ),
        *(("mlp_ratio", value) for value in (None, "2.5", 0, float("nan"), 1e9)),
    ],
)
def test_other_kinds_are_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=option):
        shape_of({**SANA, option: value})


@pytest.mark.usefixtures("double_precision")
def test_it_draws_what_diffusers_pipeline_draws() -> None:
    """SanaPipeline, with FlexDiT in place of its transformer and by our own loop, under its scheduler and guidance."""
    dense = SanaTransformer2DModel.from_config(SANA).eval()
    model = FlexDiT.from_base(copy.deepcopy(dense), backbone="sana").eval()
    options = {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}
    noise, mask = torch.randn(2, 4, 16, 16), torch.tensor([[1] * 9, [1] * 4 + [0] * 5])
    given, none = torch.randn(2, 9, 20), torch.randn(2, 9, 20)
    blocks = {f"{side}_block_out_channels": (8, 8) for side in ("encoder", "decoder")}
    layers = {f"{side}_layers_per_block": (1, 1) for side in ("encoder", "decoder")}
    scales = {f"{side}_qkv_multiscales": ((), ()) for side in ("encoder", "decoder")}
    vae = AutoencoderDC(latent_channels=4, **blocks, **layers, **scales)

    def drawn(transformer: torch.nn.Module) -> torch.Tensor:
        pipeline = SanaPipeline(
            tokenizer=None,
            text_encoder=None,
            vae=vae,
            transformer=transformer,
            scheduler=DPMSolverMultistepScheduler(**options),
        )
        pipeline.set_progress_bar_config(disable=True)
        latents: torch.Tensor = pipeline(
            negative_prompt=None,
            prompt_embeds=given,
            prompt_attention_mask=mask,
            negative_prompt_embeds=none,
            negative_prompt_attention_mask=mask,
            num_inference_steps=4,
            guidance_scale=3.0,
            height=32,
            width=32,
            latents=noise,
            output_type="latent",
            use_resolution_binning=False,
        ).images
        return latents

    expected = drawn(dense)
    torch.testing.assert_close(drawn(model), expected, rtol=1e-9, atol=1e-9)
    scheduler, settings = DPMSolverMultistepScheduler(**options), SamplingSettings(guidance=3.0)
    conditions = ({"encoder_hidden_states": one, "encoder_attention_mask": mask} for one in (given, none))
    condition, empty = conditions
    plan = plan_of(model, scheduler, Sampling(steps=4), settings)
    ours = denoise(model, scheduler, plan, noise=noise, condition=condition, none=empty, settings=settings)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-4)
    model.set_schedule(SPARSE)
    assert drawn(model).shape == expected.shape
