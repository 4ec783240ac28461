"""The sampling loop gives what diffusers' own pipelines give: their times, shifts, packing, signs and guidance."""

from collections.abc import Mapping
from typing import Any

import diffusers
import pytest
import torch
from backbone_suite import randomised
from builders import CENTRED, MMDIT, ONE_SEQUENCE, PACKED
from torch import Tensor

from flexsearch.data.conditions import CaptionConditions, Condition, random_condition
from flexsearch.diffusion.sampling import denoise, initial_noise, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.models.backbones import backbone_named
from flexsearch.models.backbones.packed import packed, unpacked
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TokenGrid

DYNAMIC = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0}
GRID = TokenGrid(height=8, width=8)
PARTS = {
    "StableDiffusion3Pipeline": (
        "text_encoder",
        "tokenizer",
        "text_encoder_2",
        "tokenizer_2",
        "text_encoder_3",
        "tokenizer_3",
    ),
    "FluxPipeline": ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"),
    "QwenImagePipeline": ("text_encoder", "tokenizer"),
    "ZImagePipeline": ("text_encoder", "tokenizer"),
}


def drawn_by(name: str, model: Any, scheduler: Any, **arguments: Any) -> Tensor:
    """Latents of a pipeline in three steps."""
    parts: dict[str, Any] = dict.fromkeys(PARTS[name])
    pipeline = getattr(diffusers, name)(**parts, vae=None, transformer=model, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    found: Tensor = pipeline(num_inference_steps=3, height=128, width=128, output_type="latent", **arguments).images
    return found


def drawn(
    model: FlexDiT, scheduler: Any, given: Condition, none: Condition, *, guidance: float, renorm: bool = False
) -> Tensor:
    settings = SamplingSettings(guidance=guidance, guidance_renorm=renorm)
    plan = plan_of(model, scheduler, Sampling(steps=3), settings)
    return denoise(model, scheduler, plan, noise=noise(), condition=given, none=none, settings=settings)


def noise() -> Tensor:
    return initial_noise(range(1), shape=(4, 16, 16), seed=0)


def base_and_model(backbone: str, config: Mapping[str, Any]) -> tuple[Any, FlexDiT]:
    base = randomised(backbone_named(backbone, field="backbone").base_class.from_config(dict(config))).eval()
    return base, FlexDiT.from_base(base, backbone=backbone).eval()


def conditions(model: FlexDiT) -> tuple[Condition, Condition]:
    given, none = (
        random_condition(model.shape, batch=1, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)
    )
    return given, none


def test_sd3() -> None:
    base, model = base_and_model("sd3", MMDIT)
    given, none = conditions(model)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    text = {
        "prompt_embeds": given["encoder_hidden_states"],
        "pooled_prompt_embeds": given["pooled_projections"],
        "negative_prompt_embeds": none["encoder_hidden_states"],
        "negative_pooled_prompt_embeds": none["pooled_projections"],
    }
    for transformer in (base, model):
        expected = drawn_by(
            "StableDiffusion3Pipeline", transformer, scheduler, guidance_scale=4.0, latents=noise(), **text
        )
        found = drawn(model, scheduler, given, none, guidance=4.0)
        if transformer is base:  # its pipeline leaves the sigmas to the scheduler
            settings = SamplingSettings(guidance=4.0, spacing="scheduler")
            plan = plan_of(model, scheduler, Sampling(steps=3), settings)
            found = denoise(model, scheduler, plan, noise=noise(), condition=given, none=none, settings=settings)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("embeds_guidance", [False, True])
def test_flux(embeds_guidance: bool) -> None:
    base, model = base_and_model("flux", {**PACKED, "guidance_embeds": embeds_guidance})
    given, none = conditions(model)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**DYNAMIC)
    text = {"prompt_embeds": given["encoder_hidden_states"], "pooled_prompt_embeds": given["pooled_projections"]}
    found = drawn(model, scheduler, given, none, guidance=3.5 if embeds_guidance else 1.0)
    for transformer in (base, model):
        expected = drawn_by(
            "FluxPipeline", transformer, scheduler, guidance_scale=3.5, latents=packed(noise(), 2), **text
        )
        torch.testing.assert_close(found, unpacked(expected, GRID, 2), rtol=1e-4, atol=1e-4)


def test_a_scale_of_guidance_that_is_embedded_has_no_second_row() -> None:
    _, model = base_and_model("flux", {**PACKED, "guidance_embeds": True})
    scheduler, settings = diffusers.FlowMatchEulerDiscreteScheduler(**DYNAMIC), SamplingSettings(guidance=3.5)
    plan = plan_of(model, scheduler, Sampling(steps=4, cache=Cache(pattern="FpFn")), settings)
    assert {step.graph.rows for step in plan.steps} == {1}
    given, none = conditions(model)
    given.pop("guidance")
    images = [
        denoise(
            model, scheduler, plan, noise=noise(), condition=given, none=none, settings=SamplingSettings(guidance=scale)
        )
        for scale in (3.5, 1.5)
    ]
    assert not torch.allclose(*images)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_qwen_image(guidance: float) -> None:
    """Its pipeline rescales what guidance gives for a token."""
    base, model = base_and_model("qwen_image", CENTRED)
    given, none = conditions(model)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**DYNAMIC, shift_terminal=0.02, max_image_seq_len=8192)
    text = {
        "prompt_embeds": given["encoder_hidden_states"],
        "prompt_embeds_mask": given["encoder_attention_mask"],
        "negative_prompt_embeds": none["encoder_hidden_states"],
        "negative_prompt_embeds_mask": none["encoder_attention_mask"],
        "true_cfg_scale": guidance,
    }
    found = drawn(model, scheduler, given, none, guidance=guidance, renorm=True)
    for transformer in (base, model):
        expected = drawn_by("QwenImagePipeline", transformer, scheduler, latents=packed(noise(), 2), **text)
        torch.testing.assert_close(found, unpacked(expected, GRID, 2), rtol=1e-4, atol=1e-4)


def test_z_image() -> None:
    """Its pipeline adds the scale to 1."""
    base, model = base_and_model("z_image", ONE_SEQUENCE)
    given, none = conditions(model)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=6.0)
    text = {
        "prompt_embeds": list(given["encoder_hidden_states"]),
        "negative_prompt_embeds": list(none["encoder_hidden_states"]),
    }
    expected = drawn_by("ZImagePipeline", base, scheduler, guidance_scale=3.0, latents=noise(), **text)
    found = drawn(model, scheduler, given, none, guidance=4.0)
    torch.testing.assert_close(found, expected.reshape(found.shape), rtol=1e-4, atol=1e-4)


def test_captions_with_a_pooled_vector_and_without_a_mask() -> None:
    rows, pooled = torch.randn(5, 20), torch.randn(2, 10)
    captions = CaptionConditions(
        rows=rows,
        ends=torch.tensor([2, 5]),
        empty=torch.ones(1, 20),
        max_tokens=7,
        has_mask=False,
        pooled=pooled,
        empty_pooled=torch.zeros(10),
    )
    found = captions.of_samples([1, 0, 1])
    assert set(found) == {"encoder_hidden_states", "pooled_projections"}
    assert torch.equal(found["pooled_projections"], pooled[[1, 0, 1]])
    assert torch.equal(found["encoder_hidden_states"][0, :3], rows[2:])
    assert torch.equal(captions.none(2)["pooled_projections"], torch.zeros(2, 10))
