"""FLUX.1 against the properties of every backbone with joint attention, and what is its own: two forms of a call."""

from typing import Any, ClassVar

import pytest
import torch
from builders import PACKED
from joint_suite import JointSuite, Variant

from flexsearch.errors import UserError
from flexsearch.models.backbones.packed import packed, places_of
from flexsearch.models.flexdit import FlexDiT


class TestFlux(JointSuite):
    """A sparse module lies across the border of blocks with two streams and with one."""

    backbone = "flux"
    checkpoints = ("black-forest-labs/FLUX.1-schnell",)
    config: ClassVar[dict[str, Any]] = PACKED

    def of_base(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As `FluxPipeline` calls its transformer."""
        latents, text = inputs["hidden_states"], inputs["encoder_hidden_states"]
        height, width = (side // 2 for side in latents.shape[-2:])
        places = [torch.zeros(height, width), *torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")]
        return {
            **inputs,
            "hidden_states": packed(latents, 2),
            "timestep": inputs["timestep"] / 1000,
            "img_ids": torch.stack([one.float() for one in places], dim=-1).flatten(0, 1),
            "txt_ids": torch.zeros(text.shape[1], 3),
        }

    def in_latents(self, tokens: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        """As `FluxPipeline` unpacks them."""
        height, width = (side // 2 for side in inputs["hidden_states"].shape[-2:])
        patches = tokens.view(len(tokens), height, width, -1, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return patches.reshape(len(tokens), -1, height * 2, width * 2)

    @pytest.mark.parametrize("size", [{}, {"height": 12, "width": 20}], ids=str)
    def test_all_dense_equals_the_base_to_the_bit(self, base: Any, size: dict[str, int]) -> None:  # type: ignore[override]
        model = FlexDiT.from_base(base, backbone=self.backbone).eval()
        for time in (0.0, 700.0):
            inputs = self.inputs(time=time, **size)
            with torch.inference_mode():
                expected = base(**self.of_base(inputs)).sample
                assert torch.equal(model(**self.of_base(inputs)).sample, expected)
                assert torch.equal(model(**inputs).sample, self.in_latents(expected, inputs))

    def test_it_takes_diffusers_own_arguments(self, model: FlexDiT) -> None:
        """Sparse too, with tokens in another place than latents would have them."""
        inputs = self.inputs()
        with torch.inference_mode():
            as_pipelines_call = model(**self.of_base(inputs), return_dict=False)[0]
            assert torch.equal(self.in_latents(as_pipelines_call, inputs), model(**inputs).sample)
        with pytest.raises(UserError, match="unheard_of"):
            model(**inputs, unheard_of=torch.zeros(3))

    def test_packed_latents_need_their_places(self, model: FlexDiT) -> None:
        inputs = self.of_base(self.inputs())
        places = inputs.pop("img_ids")
        with pytest.raises(UserError, match="img_ids"):
            model(**inputs)
        with pytest.raises(UserError, match="64 tokens"):
            model(**inputs, img_ids=places[:-8])
        assert torch.equal(places_of(model.shape.grid, torch.device("cpu"))[0], places)


class TestFluxDev(Variant, TestFlux):
    """The scale of guidance is embedded."""

    checkpoints = ("black-forest-labs/FLUX.1-dev",)
    config: ClassVar[dict[str, Any]] = {**PACKED, "guidance_embeds": True}

    def test_the_scale_of_guidance_matters_and_must_be_given(self, model: FlexDiT) -> None:
        inputs = self.inputs()
        with torch.inference_mode():
            expected = model(**inputs).sample
            assert not torch.allclose(model(**{**inputs, "guidance": inputs["guidance"] + 1}).sample, expected)
        del inputs["guidance"]
        with pytest.raises(UserError, match="guidance"):
            model(**inputs)
