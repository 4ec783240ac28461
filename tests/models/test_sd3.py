"""SD3, SD3.5-large and SD3.5-medium against the properties of every backbone with joint attention."""

from typing import Any, ClassVar

import pytest
import torch
from builders import MMDIT
from diffusers.models.attention_processor import AttnProcessor2_0, JointAttnProcessor2_0
from joint_suite import JointSuite, Variant, test_a_key_that_stands_for_four_counts_four_times  # noqa: F401 - runs here

from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT


class TestSD3(JointSuite):
    backbone = "sd3"
    checkpoints = ("stabilityai/stable-diffusion-3-medium-diffusers",)
    config: ClassVar[dict[str, Any]] = MMDIT

    def held_beside(self, base: Any) -> int:
        positions: torch.Tensor = base.pos_embed.pos_embed
        return positions.numel()

    def without_gradient(self, model: FlexDiT) -> set[str]:
        """Queries of text in the last block, whose text is dropped."""
        last = f"base.transformer_blocks.{len(model.base.transformer_blocks) - 1}.attn."
        return {
            name for name, _ in model.named_parameters() if name.startswith((f"{last}add_q", f"{last}norm_added_q"))
        }

    @pytest.mark.parametrize("name", ["encoder_hidden_states", "pooled_projections"])
    def test_a_missing_condition_is_named(self, model: FlexDiT, name: str) -> None:
        inputs = self.inputs()
        del inputs[name]
        with pytest.raises(UserError, match=name):
            model(**inputs)


class TestSD35Large(Variant, TestSD3):
    """Queries and keys are normed."""

    checkpoints = ("stabilityai/stable-diffusion-3.5-large",)
    config: ClassVar[dict[str, Any]] = {**MMDIT, "qk_norm": "rms_norm"}


class TestSD35Medium(TestSD35Large):
    """The first blocks have a second attention, of image tokens alone."""

    checkpoints = ("stabilityai/stable-diffusion-3.5-medium",)
    config: ClassVar[dict[str, Any]] = {**MMDIT, "qk_norm": "rms_norm", "dual_attention_layers": [0, 1, 2]}

    def mixers(self, model: FlexDiT, block: int) -> list[Any]:
        second = model.base.transformer_blocks[block].attn2
        return [] if second is None else [second]

    @pytest.mark.parametrize("name", ["attn", "attn2"])
    def test_a_processor_of_other_attentions_is_refused(self, model: FlexDiT, name: str) -> None:
        attention = getattr(model.base.transformer_blocks[1], name)
        attention.set_processor(JointAttnProcessor2_0())
        model(**self.inputs())
        attention.set_processor(AttnProcessor2_0())
        with pytest.raises(
            UserError, match=rf"\.1\.{name}: has the processor AttnProcessor2_0, .*: JointAttnProcessor2_0$"
        ):
            model(**self.inputs())
