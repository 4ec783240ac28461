"""What a backbone must do whose blocks can be computed in part: inherit `WidthSuite` in place of `BackboneSuite`."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from backbone_suite import NUM_BLOCKS, BackboneSuite, randomised

from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.timetable import Timetable, equal_edges
from flexsearch.schedule.width import Width, attention_width, hidden_width

WIDTH = Width(clean_heads=5, noise_heads=4, clean_hidden=6, noise_hidden=3)
NARROW = DensitySchedule(
    segments=(
        Pooling(depth=1, width=WIDTH),
        Sdtm(sparse=1, dense=1, width=Width(clean_heads=4)),
        Dense(depth=1, width=WIDTH),
    ),
    timetable=Timetable(edges=equal_edges(2), grids=(5, 3)),
)
"""Widths in every role, that change between the stages; of the 2 heads, 1 is kept."""


class WidthSuite(BackboneSuite):
    """Properties of widths, and those of every backbone, which hold for a narrow schedule too."""

    schedules: ClassVar[tuple[DensitySchedule, ...]] = (NARROW, *BackboneSuite.schedules)
    compiled = NARROW

    def test_a_width_equals_masks(self, model: FlexDiT) -> None:
        """In every role and stage: the base whose other heads and hidden channels write nothing gives the same."""
        model.set_schedule(NARROW)
        masked = model.clone()
        for graph in model.graphs():
            restored = copy.deepcopy(masked.state_dict())
            for operation in graph.route:
                for part, one in enumerate(masked._parts.blocks[operation.block].parts):
                    order: Any = masked.width_order
                    attention = order.attention[operation.block, part][
                        attention_width(operation.amounts, model.shape) :
                    ]
                    hidden = order.hidden[operation.block, part][hidden_width(operation.amounts, model.shape) :]
                    with torch.no_grad():
                        one.block.attn1.to_out[0].weight[:, attention] = 0
                        one.block.ff.net[2].weight[:, hidden] = 0
            route = tuple(replace(operation, amounts=()) for operation in graph.route)
            inputs = self.inputs(time=900.0)
            with torch.inference_mode():
                expected = masked(**inputs, graph=replace(graph, route=route)).sample
                found = model(**inputs, graph=graph).sample
            assert not torch.allclose(found, model(**inputs, graph=replace(graph, route=route)).sample, rtol=1e-2)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
            masked.load_state_dict(restored)

    def test_widths_are_nested_and_their_order_is_made_once(self, model: FlexDiT, tmp_path: Path) -> None:
        """By the weights, heads as wholes; it is saved, and what is trained afterwards does not change it."""
        model.add_width_order()
        order: Any = model.width_order
        size = 24 // model.shape.num_heads
        for part, one in enumerate(model._parts.blocks[1].parts):
            assert sorted(order.attention[1, part].tolist()) == list(range(24))
            assert sorted(order.hidden[1, part].tolist()) == list(range(96))
            first = order.attention[1, part][:size]
            assert (first // size).unique().numel() == 1, "one head"
            values, outputs = one.block.attn1.to_v.weight, one.block.attn1.to_out[0].weight
            norms = [
                (outputs[:, head : head + size] @ values[head : head + size]).norm() for head in range(0, 24, size)
            ]
            assert int(first[0]) // size == int(torch.stack(norms).argmax())
        (wide, narrow) = (
            order.narrowed(model._parts.blocks[1], place=1, amounts=amounts, shape=model.shape)
            for amounts in ((("hidden", 6),), (("heads", 4), ("hidden", 3)))
        )
        for one, two in zip(wide.parts, narrow.parts, strict=True):
            kept, fewer = one.block.ff._first._kept(), two.block.ff._first._kept()
            assert len(kept) == 72
            assert torch.equal(kept[:36], fewer)
        model.set_schedule(NARROW)
        before = order.hidden.clone()
        randomised(model, seed=9)
        model.set_schedule(DensitySchedule(segments=(Dense(depth=NUM_BLOCKS, width=WIDTH),)))
        model.save_pretrained(tmp_path, safe_serialization=True)
        again = FlexDiT.from_pretrained(tmp_path).eval()
        assert torch.equal(again.width_order.hidden, before)
        assert torch.equal(again.width_order.attention, order.attention)
        with torch.inference_mode():
            assert torch.equal(again(**self.inputs()).sample, model.eval()(**self.inputs()).sample)

    def test_a_full_width_is_dense_and_images_do_not_depend_on_their_batch(self, model: FlexDiT) -> None:
        full = DensitySchedule(segments=(Dense(depth=NUM_BLOCKS, width=Width(clean_heads=8, noise_hidden=8)),))
        dense = DensitySchedule.all_dense(NUM_BLOCKS)
        assert full.digest == dense.digest
        inputs = self.inputs()
        with torch.inference_mode():
            model.set_schedule(dense)
            expected = model(**inputs).sample
            model.set_schedule(full)
            assert torch.equal(model(**inputs).sample, expected)
            model.set_schedule(NARROW)
            together = model(**inputs).sample
            for row in range(3):
                alone = {name: value[row : row + 1] for name, value in inputs.items()}
                torch.testing.assert_close(model(**alone).sample, together[row : row + 1], rtol=1e-5, atol=1e-5)

    def test_gradients_reach_what_a_width_keeps_and_nothing_else(self, model: FlexDiT) -> None:
        model.set_schedule(
            DensitySchedule(segments=(Dense(depth=NUM_BLOCKS, width=Width(clean_heads=4, clean_hidden=2)),))
        )
        model.train()
        model(**self.inputs()).sample.square().mean().backward()
        order: Any = model.width_order
        for block, group in enumerate(model._parts.blocks):
            for part, one in enumerate(group.parts):
                reached = one.block.attn1.to_v.weight.grad.any(dim=1), one.block.ff.net[2].weight.grad.any(dim=0)
                for found, kept in zip(reached, (order.attention[block, part], order.hidden[block, part]), strict=True):
                    assert set(found.nonzero().flatten().tolist()) == set(
                        kept[: len(kept) * (4 if len(kept) == 24 else 2) // 8].tolist()
                    )

    def test_without_gradients_a_width_is_a_copy_that_follows_the_weights(self, model: FlexDiT) -> None:
        """Of queries, keys and values one matrix; layers that are no longer plain are masked."""
        model.set_schedule(NARROW)
        expected = model(**self.inputs()).sample.detach()
        (narrow, *_) = model._blocks.narrow[5, model.graphs()[1].route[5].amounts].parts
        assert narrow.fused_projections.matrix is narrow.block.ff._first.copy is None
        with torch.inference_mode():
            torch.testing.assert_close(model(**self.inputs()).sample, expected, rtol=1e-4, atol=1e-4)
            assert narrow.fused_projections.matrix.weight.shape == (3 * 12, 24)
            copy = narrow.block.ff._first.copy
            assert copy.weight.is_contiguous()
            model(**self.inputs())
            assert narrow.block.ff._first.copy is copy
            randomised(model, seed=4)
            found = model(**self.inputs()).sample
            assert not torch.allclose(found, expected)
            for module in model.modules():
                if isinstance(module, torch.nn.Linear):
                    module.register_forward_hook(lambda *_: None)
            torch.testing.assert_close(model(**self.inputs()).sample, found, rtol=1e-4, atol=1e-4)

    def test_fusing_changes_a_width_by_rounding(self, model: FlexDiT) -> None:
        model.set_schedule(NARROW)
        with torch.inference_mode():
            expected = model(**self.inputs()).sample
            model.fuse()
            torch.testing.assert_close(model(**self.inputs()).sample, expected, rtol=1e-4, atol=1e-4)
