"""Z-Image against the properties of every backbone with joint attention, and what is its own: padding, refiners."""

from typing import Any, ClassVar

import pytest
import torch
from builders import ONE_SEQUENCE
from joint_suite import JointSuite

from flexsearch.errors import UserError
from flexsearch.models.architectures.z_image import shape_of
from flexsearch.models.flexdit import FlexDiT


class TestZImage(JointSuite):
    backbone = "z_image"
    checkpoints = ("Tongyi-MAI/Z-Image", "Tongyi-MAI/Z-Image-Turbo")
    config: ClassVar[dict[str, Any]] = ONE_SEQUENCE
    text_embedder = "cap_embedder"

    def queries(self, block: Any) -> list[torch.nn.Linear]:
        return [block.attention.to_q]

    def without_gradient(self, model: FlexDiT) -> set[str]:
        """What pads image and text: here nothing does."""
        return {"base.x_pad_token", "base.cap_pad_token"}

    def of_base(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As `ZImagePipeline` calls its transformer: rows in lists, captions without padding, 1 - t."""
        text, mask = inputs["encoder_hidden_states"], inputs.get("encoder_attention_mask")
        lengths = [text.shape[1]] * len(text) if mask is None else mask.sum(1).tolist()
        return {
            "x": [one[:, None] for one in inputs["hidden_states"]],
            "t": (1000 - inputs["timestep"]) / 1000,
            "cap_feats": [row[:length] for row, length in zip(text, lengths, strict=True)],
        }

    def from_base(self, output: Any, model: FlexDiT) -> torch.Tensor:
        """Its pipeline negates what is given in a list."""
        return -torch.stack(output)[:, :, 0]

    @pytest.mark.parametrize("lengths", [None, (32, 32, 32), (64, 21, 61), (40, 40, 40)], ids=str)
    @pytest.mark.parametrize("size", [{}, {"height": 12, "width": 20}], ids=str)
    def test_all_dense_equals_the_base_to_the_bit(  # type: ignore[override]
        self, base: Any, size: dict[str, int], lengths: tuple[int, ...] | None
    ) -> None:
        """Captions of one and of several lengths; the wider grid needs padding. The pipeline negates the output."""
        model = FlexDiT.from_base(base, backbone=self.backbone).eval()
        inputs = self.inputs(**size)
        del inputs["encoder_attention_mask"]
        if lengths is not None:
            longest = max(lengths)
            inputs["encoder_hidden_states"] = inputs["encoder_hidden_states"].repeat(1, 2, 1)[:, :longest]
            inputs["encoder_attention_mask"] = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
        with torch.inference_mode():
            expected = -torch.stack(base(**self.of_base(inputs)).sample)[:, :, 0]
            found = model(**inputs).sample
        if lengths is None or len(set(lengths)) > 1:
            assert torch.equal(found, expected)
        else:  # a mask that leaves nothing out rounds in another way than none
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_it_takes_diffusers_own_arguments(self, model: FlexDiT) -> None:
        """Not so: its pipeline calls the transformer with lists by position, and is told what to give."""
        with pytest.raises(UserError, match="encoder_hidden_states="):
            model(*self.of_base(self.inputs()).values())
        with pytest.raises(UserError, match="unheard_of"):
            model(**self.inputs(), unheard_of=torch.zeros(3))

    def test_padding_to_32_tokens_is_read_and_more_is_not(self, model: FlexDiT) -> None:
        inputs = self.inputs()
        inputs["encoder_hidden_states"] = torch.cat([inputs["encoder_hidden_states"]] * 2, dim=1)
        inputs["encoder_attention_mask"] = (torch.arange(64) < 20).long().expand(3, -1)
        with torch.inference_mode():
            expected = model(**inputs).sample
            inputs["encoder_hidden_states"][:, 20:] = 5.0
            torch.testing.assert_close(model(**inputs).sample, expected)
            shorter = {**inputs, "encoder_hidden_states": inputs["encoder_hidden_states"][:, :20]}
            del shorter["encoder_attention_mask"]
            torch.testing.assert_close(model(**shorter).sample, expected, rtol=1e-4, atol=1e-4)
            model.base.cap_pad_token += 1.0
            assert not torch.allclose(model(**inputs).sample, expected)

    @pytest.mark.parametrize(("field", "value"), [("all_patch_size", [2, 4]), ("siglip_feat_dim", 8)])
    def test_other_kinds_are_refused(self, field: str, value: Any) -> None:
        with pytest.raises(UserError, match=field):
            shape_of({**self.config, field: value})
