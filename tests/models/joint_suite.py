"""What a backbone must do whose text and image tokens share a softmax: inherit `JointSuite`."""

import copy
from typing import Any

import pytest
import torch
from backbone_suite import MODULES, NUM_BLOCKS, SPAN, BackboneSuite
from diffusers import ModelMixin

from flexsearch.errors import UserError
from flexsearch.models.backbones.joint import logit_bias, read
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families import Segment
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.keep import Keep
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.timetable import Timetable
from flexsearch.schedule.width import Kept, Width


class JointSuite(BackboneSuite):
    """Properties of one architecture with joint attention."""

    text_embedder = "context_embedder"

    def held_beside(self, base: Any) -> int:
        return 0

    def mixers(self, model: FlexDiT, block: int) -> list[Any]:
        """Attentions of image tokens alone, which have no use for queries and keys where they pool."""
        return []

    def changed_embedding(self, patch: pytest.MonkeyPatch, model: FlexDiT, factor: float) -> None:
        opened = model._parts.open

        def scaled(*arguments: Any) -> Any:
            found = opened(*arguments)
            assert found.text is not None
            text = found.text._replace(tokens=factor * found.text.tokens)
            return found._replace(tokens=factor * found.tokens, text=text)

        patch.setattr(model._parts, "open", scaled)

    def queries(self, block: Any) -> list[torch.nn.Linear]:
        """What projects to queries in one of the base's blocks, of image and of text."""
        return [block.attn.to_q, *([block.attn.add_q_proj] if hasattr(block.attn, "add_q_proj") else [])]

    def test_pooling_equals_attention_with_uniform_weights(self, base: Any) -> None:
        """Zero queries make every attention weight equal: the mean token then stands for all image tokens, beside as
        many text tokens as there are."""
        for block in FlexDiT.from_base(base, backbone=self.backbone)._parts.blocks:
            second = [block.second.to_q] if getattr(block, "second", None) is not None else []
            for linear in (*self.queries(block.block), *second):  # type: ignore[attr-defined]
                for weight in linear.parameters():
                    torch.nn.init.zeros_(weight)
        schedule = DensitySchedule(segments=(Pooling(depth=NUM_BLOCKS),))
        pooled = FlexDiT.from_base(copy.deepcopy(base), backbone=self.backbone, schedule=schedule).eval()
        uniform = FlexDiT.from_base(base, backbone=self.backbone).eval()
        with torch.inference_mode():
            expected = uniform(**self.inputs()).sample
            torch.testing.assert_close(pooled(**self.inputs()).sample, expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize(
        "segment",
        [Dense(depth=NUM_BLOCKS, width=Width(clean_hidden=4)), Keep(depth=NUM_BLOCKS, tokens=Kept(clean=4))],
    )
    def test_blocks_are_not_computed_in_part(self, model: FlexDiT, segment: Segment) -> None:
        with pytest.raises(UserError, match="this base's blocks are computed whole"):
            model.set_schedule(DensitySchedule(segments=(segment,)))

    def test_every_row_is_computed_by_itself(self, model: FlexDiT) -> None:
        """An image depends on its own text, time and data alone."""
        inputs = self.inputs(batch=5)
        with torch.inference_mode():
            whole = model(**inputs).sample
            alone = model(**{name: value[3:4] for name, value in inputs.items()}).sample
        torch.testing.assert_close(whole[3:4], alone, rtol=1e-4, atol=1e-4)

    def test_text_matters_at_every_density(self, base: ModelMixin) -> None:
        """Also where every image token is sparse from the second block to the last but one."""
        segments = (Dense(depth=1), Sdtm(sparse=NUM_BLOCKS - 3, dense=0))
        schedule = DensitySchedule(segments=segments, timetable=Timetable(grids=(4,)))
        model = FlexDiT.from_base(base, backbone=self.backbone, schedule=schedule).eval()
        inputs = self.inputs()
        with torch.inference_mode():
            expected = model(**inputs).sample
            inputs["encoder_hidden_states"] = inputs["encoder_hidden_states"].flip(0)
            assert not torch.allclose(model(**inputs).sample[0], expected[0])


class Variant:
    """In front of a suite: what takes long is run by the suite that this varies, and here where it is asked for."""

    @pytest.mark.slow
    @pytest.mark.parametrize("cache", [SPAN, MODULES], ids=["span", "modules"])
    def test_a_step_and_its_reuse_compile_without_a_graph_break(self, model: FlexDiT, cache: Cache) -> None:
        super().test_a_step_and_its_reuse_compile_without_a_graph_break(model, cache)  # type: ignore[misc]

    @pytest.mark.slow
    def test_gradient_checkpointing_changes_no_gradient(self, model: FlexDiT) -> None:
        super().test_gradient_checkpointing_changes_no_gradient(model)  # type: ignore[misc]


@pytest.mark.parametrize("text_first", [True, False])
@pytest.mark.parametrize("has_padding", [True, False])
def test_a_key_that_stands_for_four_counts_four_times(text_first: bool, has_padding: bool) -> None:
    """What queries read does not change when four equal image keys become one."""
    generator = torch.Generator().manual_seed(0)
    query, text, image, values = (torch.randn(2, num, 3, 8, generator=generator) for num in (5, 7, 6, 13))
    is_read = torch.arange(7)[None, None, None] < torch.tensor([7, 4])[:, None, None, None] if has_padding else None

    def found(repeats: int, weight: float) -> torch.Tensor:
        keys = image.repeat_interleave(repeats, dim=1)
        bias = logit_bias(keys, text, weight=weight, is_read=is_read, text_first=text_first)
        of_text, of_image = values[:, :7], values[:, 7:].repeat_interleave(repeats, dim=1)
        sides = [(text, keys), (of_text, of_image)]
        return read(query, *(torch.cat(one if text_first else one[::-1], dim=1) for one in sides), bias)

    torch.testing.assert_close(found(1, 4.0), found(4, 1.0))
    assert not torch.allclose(found(1, 1.0), found(4, 1.0))
    assert logit_bias(image, text, weight=1.0, is_read=None, text_first=text_first) is None
