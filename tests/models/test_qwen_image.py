"""Qwen-Image against the properties of every backbone with joint attention, and what is its own: masks, two forms."""

from typing import Any, ClassVar

import pytest
import torch
from builders import CENTRED
from joint_suite import JointSuite, Variant

from flexsearch.errors import UserError
from flexsearch.models.architectures.qwen_image import shape_of
from flexsearch.models.backbones.packed import packed, unpacked
from flexsearch.models.flexdit import FlexDiT


class TestQwenImage(Variant, JointSuite):
    """Its blocks are of FLUX.1's kind, whose suite compiles them."""

    backbone = "qwen_image"
    checkpoints = ("Qwen/Qwen-Image",)
    config: ClassVar[dict[str, Any]] = CENTRED
    text_embedder = "txt_in"

    def without_gradient(self, model: FlexDiT) -> set[str]:
        """What the last block makes of text, which is dropped."""
        last = f"base.transformer_blocks.{len(model.base.transformer_blocks) - 1}."
        parts = tuple(f"{last}{part}" for part in ("attn.add_q", "attn.norm_added_q", "attn.to_add_out", "txt_mlp"))
        return {name for name, _ in model.named_parameters() if name.startswith(parts)}

    def of_base(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As `QwenImagePipeline` calls its transformer."""
        latents, found = inputs["hidden_states"], {**inputs}
        height, width = (side // 2 for side in latents.shape[-2:])
        found["encoder_hidden_states_mask"] = found.pop("encoder_attention_mask", None)
        shapes = [[(1, height, width)]] * len(latents)
        return {
            **found,
            "hidden_states": packed(latents, 2),
            "timestep": inputs["timestep"] / 1000,
            "img_shapes": shapes,
        }

    @pytest.mark.parametrize("read", [None, 7, 4], ids=["no mask", "all read", "padding"])
    @pytest.mark.parametrize("size", [{}, {"height": 12, "width": 20}], ids=str)
    def test_all_dense_equals_the_base_to_the_bit(  # type: ignore[override]
        self, base: Any, size: dict[str, int], read: int | None
    ) -> None:
        model = FlexDiT.from_base(base, backbone=self.backbone).eval()
        inputs = self.inputs(**size)
        inputs["encoder_attention_mask"][1, read:] = 0
        if read is None:
            del inputs["encoder_attention_mask"]
        with torch.inference_mode():
            expected = base(**self.of_base(inputs)).sample
            assert torch.equal(model(**self.of_base(inputs)).sample, expected)
            grid = model.grid_of(inputs["hidden_states"])
            assert torch.equal(model(**inputs).sample, unpacked(expected, grid, 2))

    def test_it_takes_diffusers_own_arguments(self, model: FlexDiT) -> None:
        inputs = self.inputs()
        with torch.inference_mode():
            as_pipelines_call = model(**self.of_base(inputs), return_dict=False)[0]
            assert torch.equal(unpacked(as_pipelines_call, model.shape.grid, 2), model(**inputs).sample)
        with pytest.raises(UserError, match="unheard_of"):
            model(**inputs, unheard_of=torch.zeros(3))

    def test_padding_is_not_read(self, model: FlexDiT) -> None:
        """At no density."""
        inputs = self.inputs()
        inputs["encoder_attention_mask"][:, 4:] = 0
        with torch.inference_mode():
            expected = model(**inputs).sample
            inputs["encoder_hidden_states"][:, 4:] = 5.0
            torch.testing.assert_close(model(**inputs).sample, expected)

    def test_several_images_of_a_row_are_refused(self, model: FlexDiT) -> None:
        inputs = self.of_base(self.inputs())
        for shapes in ([[(1, 8, 8), (1, 8, 8)]] * 3, [[(1, 8, 8)], [(1, 8, 8)], [(1, 4, 16)]], None):
            with pytest.raises(UserError, match="img_shapes"):
                model(**{**inputs, "img_shapes": shapes})

    def test_models_that_edit_images_are_refused(self) -> None:
        with pytest.raises(UserError, match="zero_cond_t"):
            shape_of({**self.config, "zero_cond_t": True})
