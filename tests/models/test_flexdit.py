"""FlexDiT against its base, against formulas written out, and against torch's own FLOP counter."""

import copy
from pathlib import Path

import pytest
import reference
import torch
from diffusers import DiTTransformer2DModel
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.models.architectures import known_config
from flexsearch.models.backbones.dit import untied
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.cost import model_params
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.plan import stage_graphs
from flexsearch.schedule.presets import PRESETS
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.timetable import Timetable


def inputs(batch: int = 3, *, time: float = 700.0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    noisy = torch.randn(batch, 1, 16, 16, generator=generator)
    labels = torch.tensor([1, 10, 4])[:batch]
    return {"hidden_states": noisy, "timestep": torch.full((batch,), time), "class_labels": labels}


def test_all_dense_with_shared_embedders_equals_the_base_to_the_bit(tiny_base: DiTTransformer2DModel) -> None:
    for block in tiny_base.transformer_blocks[1:]:
        block.norm1.emb = copy.deepcopy(tiny_base.transformer_blocks[0].norm1.emb)
    model = FlexDiT.from_base(copy.deepcopy(tiny_base)).eval()
    emb = [block.norm1.emb for block in model.base.transformer_blocks]
    assert all(one is emb[0] for one in emb)
    with torch.inference_mode():
        assert torch.equal(model(**inputs()).sample, tiny_base(**inputs()).sample)


@pytest.mark.parametrize("changes", [{"out_channels": 2}, {"in_channels": 3, "out_channels": 3}, {"patch_size": 4}])
def test_all_dense_parity_over_configurations(tiny_base: DiTTransformer2DModel, changes: dict) -> None:
    base = DiTTransformer2DModel.from_config({**tiny_base.config, **changes}).eval()
    given = inputs()
    given["hidden_states"] = given["hidden_states"].repeat(1, base.config.in_channels, 1, 1)
    with torch.inference_mode():
        expected = base(**given).sample
        assert torch.equal(FlexDiT.from_base(base).eval()(**given).sample, expected)


@pytest.mark.parametrize("side", [3, 4, 8])
@pytest.mark.parametrize("merge", [1, 2])
def test_every_role_equals_the_formulas(tiny_model: FlexDiT, side: int, merge: int) -> None:
    """pool, merge (once or twice), sparse, recover and dense, token by token."""
    segments = (Pooling(depth=1), Sdtm(merge=merge, sparse=2 - merge + 1, dense=0), Dense(depth=1))
    tiny_model.set_schedule(DensitySchedule(segments=segments, timetable=Timetable(grids=(side,))))
    block_of_recover = tiny_model.schedule.roles.index("recover")
    with torch.no_grad():
        for weight in tiny_model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.2)
        noisy, time, labels = inputs(1).values()
        parts, blocks = tiny_model._parts, tiny_model.base.transformer_blocks
        embedded = parts.embed(noisy)
        read = parts.conditioning(time, {"class_labels": labels}, embedded.dtype, range(6))
        conditioning = [block.norm1.emb(time, labels, hidden_dtype=embedded.dtype)[0] for block in blocks]
        y = reference.run_block(blocks[0], list(embedded[0]), list(embedded[0]), conditioning[0], uniform=True)
        sparse = reference.average_pool(y, 8, 8, side)
        for block in range(1, 1 + merge):
            sparse = reference.run_block(blocks[block], sparse, y, conditioning[block])
        for block in range(1 + merge, block_of_recover):
            sparse = reference.run_block(blocks[block], sparse, sparse, conditioning[block])
        up = reference.nearest(sparse, side, 8, 8)
        tokens = reference.merged(tiny_model.merges[str(block_of_recover)], up, y)
        tokens = reference.run_block(blocks[block_of_recover], tokens, sparse, conditioning[block_of_recover])
        for block in range(block_of_recover + 1, 6):
            tokens = reference.run_block(blocks[block], tokens, tokens, conditioning[block])
        expected = parts.head(torch.stack(tokens)[None], read, TokenGrid(height=8, width=8))
        found = tiny_model(**inputs(1)).sample
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)


def test_a_fresh_merge_is_the_identity_on_dense_tokens(tiny_base: DiTTransformer2DModel) -> None:
    model = FlexDiT.from_base(tiny_base)
    model.add_weights([("recover", 3)])
    merge = model.merges["3"]
    dense, sparse = torch.randn(2, 64, 16), torch.randn(2, 9, 16)
    out = merge(sparse, dense, sparse_grid=TokenGrid(height=3, width=3), grid=TokenGrid(height=8, width=8))
    torch.testing.assert_close(out, dense)
    out.square().sum().backward()
    assert merge.sparse.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("checkpoint", "preset", "expected"),
    [("facebook/DiT-XL-2-512", "flexdit_xl_512_r61_86", 681_327_392), ("facebook/DiT-XL-2-256", None, 683_099_168)],
)
def test_parameters_equal_the_authors_logs(checkpoint: str, preset: str | None, expected: int) -> None:
    """Weights as they are on a real model (on the meta device): one embedder, no queries and keys in pool blocks."""
    schedule = (
        PRESETS[preset].schedule
        if preset
        else DensitySchedule(
            segments=(Pooling(depth=1), *[Sdtm(sparse=3)] * 4, Dense(depth=3)), timetable=Timetable(grids=(8,))
        )
    )
    with torch.device("meta"):
        base = DiTTransformer2DModel(**(known_config(checkpoint) or {}))
        model = FlexDiT(base=base, schedule=schedule.to_dict(), tied=True)
    counted = sum(weight.numel() for weight in model.parameters()) + base.pos_embed.pos_embed.numel()
    for block in [block for block, role in enumerate(model.schedule.roles) if role == "pool"]:
        attention = base.transformer_blocks[block].attn1
        counted -= sum(w.numel() for part in (attention.to_q, attention.to_k) for w in part.parameters())
    assert counted == expected
    assert model_params(model.schedule.roles, model.shape) == expected


def test_set_schedule_changes_the_route_and_no_weight(tiny_model: FlexDiT, sparse_schedule: DensitySchedule) -> None:
    before = {key: value.clone() for key, value in tiny_model.state_dict().items()}
    with torch.inference_mode():
        sparse = tiny_model(**inputs()).sample
        tiny_model.set_schedule(DensitySchedule.all_dense(6))
        dense = tiny_model(**inputs()).sample
        tiny_model.set_schedule(sparse_schedule)
        assert torch.equal(tiny_model(**inputs()).sample, sparse)
    assert not torch.equal(sparse, dense)
    assert all(torch.equal(value, before[key]) for key, value in tiny_model.state_dict().items())


def test_saved_embedders_are_shared_again(tiny_base: DiTTransformer2DModel, tmp_path: Path) -> None:
    for block in tiny_base.transformer_blocks[1:]:
        block.norm1.emb = copy.deepcopy(tiny_base.transformer_blocks[0].norm1.emb)
    model = FlexDiT.from_base(tiny_base).eval()
    model.save_pretrained(tmp_path, safe_serialization=True)
    again = FlexDiT.from_pretrained(tmp_path).eval()
    assert sum(weight.numel() for weight in again.parameters()) == sum(weight.numel() for weight in model.parameters())
    with torch.inference_mode():
        assert torch.equal(again(**inputs()).sample, model(**inputs()).sample)


def test_the_base_can_be_given_back_as_diffusers_saves_it(tiny_base: DiTTransformer2DModel) -> None:
    for block in tiny_base.transformer_blocks[1:]:
        block.norm1.emb = copy.deepcopy(tiny_base.transformer_blocks[0].norm1.emb)
    expected = {key: value.clone() for key, value in tiny_base.state_dict().items()}
    given_back = untied(FlexDiT.from_base(tiny_base).base).state_dict()
    assert given_back.keys() == expected.keys()
    assert all(torch.equal(given_back[key], value) for key, value in expected.items())


def test_stages_follow_the_timestep(tiny_model: FlexDiT) -> None:
    graphs = tiny_model.graphs()
    with torch.inference_mode():
        for time, stage in ((100.0, 0), (499.0, 0), (500.0, 1), (900.0, 1)):
            expected = tiny_model(**inputs(time=time), graph=graphs[stage]).sample
            other = tiny_model(**inputs(time=time), graph=graphs[1 - stage]).sample
            assert torch.equal(tiny_model(**inputs(time=time)).sample, expected)
            assert not torch.equal(expected, other)


def test_a_batch_of_two_stages_is_refused(tiny_model: FlexDiT) -> None:
    with pytest.raises(UserError, match="one stage"):
        tiny_model(**{**inputs(), "timestep": torch.tensor([100.0, 900.0, 100.0])})


def test_schedules_that_do_not_fit_are_refused(tiny_model: FlexDiT) -> None:
    with pytest.raises(UserError, match="must add up to 6 blocks, but got 7"):
        tiny_model.set_schedule(DensitySchedule.all_dense(7))
    with pytest.raises(UserError, match=r"in \[1, 8\], but got 9"):
        tiny_model.set_schedule(
            DensitySchedule(segments=(Sdtm(sparse=1), Dense(depth=2)), timetable=Timetable(grids=(9,)))
        )


def test_it_drops_into_diffusers_pipeline(tiny_base: DiTTransformer2DModel, sparse_schedule: DensitySchedule) -> None:
    """DiTPipeline draws the same images with FlexDiT all-dense as with its own transformer, and runs sparse."""
    from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline

    config = {
        **tiny_base.config,
        "in_channels": 4,
        "out_channels": 8,
        "num_embeds_ada_norm": 1000,
    }  # it hard-codes "no label" as 1000
    dense = DiTTransformer2DModel.from_config(config).eval()
    vae = AutoencoderKL(latent_channels=4, block_out_channels=(8,), norm_num_groups=4).eval()

    def images(transformer: torch.nn.Module) -> Tensor:
        pipeline = DiTPipeline(transformer=transformer, vae=vae, scheduler=DDIMScheduler())
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(0)
        drawn = pipeline([1, 2], num_inference_steps=2, generator=generator, output_type="np").images
        return torch.from_numpy(drawn)

    expected = images(dense)
    model = FlexDiT.from_base(dense)
    torch.testing.assert_close(images(model), expected, rtol=0, atol=0)
    model.set_schedule(sparse_schedule)
    assert images(model).shape == expected.shape


def test_lowering_on_another_grid_is_the_schedules_own(tiny_model: FlexDiT) -> None:
    grid = TokenGrid(height=16, width=16)
    assert tiny_model.graphs(grid) == stage_graphs(tiny_model.schedule, grid)


def test_the_models_own_clock_is_read(tiny_base: DiTTransformer2DModel, sparse_schedule: DensitySchedule) -> None:
    """A base that was trained on 500 timesteps is at half of its time at 250."""
    model = FlexDiT.from_base(tiny_base, schedule=sparse_schedule, num_train_timesteps=500).eval()
    graphs = model.graphs()
    with torch.inference_mode():
        for time, stage in ((249.0, 0), (250.0, 1), (450.0, 1)):
            expected = model(**inputs(time=time), graph=graphs[stage]).sample
            assert torch.equal(model(**inputs(time=time)).sample, expected)


def test_a_batch_on_an_edge_but_for_rounding_is_of_one_stage(tiny_model: FlexDiT) -> None:
    timestep = torch.tensor([499.9997, 500.0, 700.0])
    with torch.inference_mode():
        expected = tiny_model(**{**inputs(), "timestep": timestep}, graph=tiny_model.graphs()[1]).sample
        assert torch.equal(tiny_model(**{**inputs(), "timestep": timestep}).sample, expected)
        expected = tiny_model(**{**inputs(), "timestep": timestep - 400}, graph=tiny_model.graphs()[0]).sample
        below = torch.tensor([99.9997, 100.0, 500.0])
        assert tiny_model(**{**inputs(), "timestep": below}).sample.shape == expected.shape


def test_weights_of_earlier_folders_are_read(tiny_base: DiTTransformer2DModel) -> None:
    """They name the blocks of merges by `merge_blocks`."""
    model = FlexDiT(base=tiny_base, merge_blocks=[1, 3])
    assert set(model.merges) == {"1", "3"}
    assert model.config["extra_blocks"] == {"recover": [1, 3]}


def test_its_text_begins_with_the_schedule(tiny_base: DiTTransformer2DModel) -> None:
    model = FlexDiT.from_base(tiny_base)
    assert repr(model).splitlines()[1].strip() == f"schedule: {model.schedule}"


def test_a_view_is_another_model_on_the_same_tensors(tiny_base: DiTTransformer2DModel) -> None:
    model = FlexDiT.from_base(tiny_base).eval()
    with torch.inference_mode():
        expected, names = model(**inputs()).sample, set(model.state_dict())
        view = model.view()
        assert torch.equal(view(**inputs()).sample, expected)
        view.set_schedule(
            DensitySchedule(
                segments=(Pooling(depth=1), Sdtm(sparse=0, dense=0), Dense(depth=model.shape.num_blocks - 3)),
                timetable=Timetable(grids=(3,)),
            )
        )
        assert not torch.equal(view(**inputs()).sample, expected)
        assert torch.equal(model(**inputs()).sample, expected)
    assert set(model.state_dict()) == names < set(view.state_dict())
    own, shared = model.state_dict(), view.state_dict()
    assert all(shared[name].data_ptr() == own[name].data_ptr() for name in names)
