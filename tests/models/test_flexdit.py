"""FlexDiT against its base, against formulas written out, and against torch's own FLOP counter."""

import copy
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from diffusers import DiTTransformer2DModel
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from flexsearch.errors import UserError
from flexsearch.models.backbones.dit import untied
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.operations import downsample, upsample
from flexsearch.models.shapes import KNOWN_CONFIGS
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.macs import plan_macs, plan_params
from flexsearch.schedule.plan import lower
from flexsearch.schedule.presets import PRESETS
from flexsearch.schedule.segments import Dense, Pooling, Sdtm
from flexsearch.schedule.timetable import Timetable


def _reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _reference()


def inputs(batch: int = 3, *, height: int = 16, width: int = 16, time: float = 700.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    noisy = torch.randn(batch, 1, height, width, generator=generator)
    return noisy, torch.full((batch,), time), torch.tensor([1, 10, 4])[:batch]


def test_all_dense_equals_the_base_to_the_bit(tiny_base: DiTTransformer2DModel) -> None:
    model = FlexDiT.from_base(copy.deepcopy(tiny_base)).eval()
    with torch.inference_mode():
        assert torch.equal(model(*inputs()).sample, tiny_base(*inputs()).sample)


def test_all_dense_with_shared_embedders_equals_the_base_to_the_bit(tiny_base: DiTTransformer2DModel) -> None:
    for block in tiny_base.transformer_blocks[1:]:
        block.norm1.emb = copy.deepcopy(tiny_base.transformer_blocks[0].norm1.emb)
    model = FlexDiT.from_base(copy.deepcopy(tiny_base)).eval()
    emb = [block.norm1.emb for block in model.base.transformer_blocks]
    assert all(one is emb[0] for one in emb)
    with torch.inference_mode():
        assert torch.equal(model(*inputs()).sample, tiny_base(*inputs()).sample)


@pytest.mark.parametrize("changes", [{"out_channels": 2}, {"in_channels": 3, "out_channels": 3}, {"patch_size": 4}])
def test_all_dense_parity_over_configurations(tiny_base: DiTTransformer2DModel, changes: dict) -> None:
    base = DiTTransformer2DModel.from_config({**tiny_base.config, **changes}).eval()
    noisy, time, labels = inputs()
    noisy = noisy.repeat(1, base.config.in_channels, 1, 1)
    with torch.inference_mode():
        expected = base(noisy, time, labels).sample
        assert torch.equal(FlexDiT.from_base(base).eval()(noisy, time, labels).sample, expected)


def test_pooling_equals_attention_with_uniform_weights(tiny_base: DiTTransformer2DModel) -> None:
    """Zero queries make every attention weight 1/N; pooling never looks at queries and keys."""
    pooled = DensitySchedule(segments=(Pooling(depth=6),))
    model = FlexDiT.from_base(copy.deepcopy(tiny_base), schedule=pooled).eval()
    for block in tiny_base.transformer_blocks:
        torch.nn.init.zeros_(block.attn1.to_q.weight)
        torch.nn.init.zeros_(block.attn1.to_q.bias)
    with torch.inference_mode():
        torch.testing.assert_close(model(*inputs()).sample, tiny_base(*inputs()).sample, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [3, 4, 8])
@pytest.mark.parametrize("merge", [1, 2])
def test_every_role_equals_the_formulas(tiny_model: FlexDiT, side: int, merge: int) -> None:
    """pool, merge (once or twice), sparse, recover and dense, token by token."""
    segments = (Pooling(depth=1), Sdtm(merge=merge, sparse=2 - merge + 1, dense=0), Dense(depth=1))
    tiny_model.set_schedule(DensitySchedule(segments=segments, timetable=Timetable(grids=(side,))))
    block_of_recover = tiny_model.plan().blocks("recover")[0]
    with torch.no_grad():
        for weight in tiny_model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.2)
        noisy, time, labels = inputs(1)
        parts, blocks = tiny_model._parts, tiny_model.base.transformer_blocks
        embedded = parts.embed(noisy)
        conditioning = [one[0] for one in parts.conditioning(time, labels, embedded)]
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
        expected = parts.head(torch.stack(tokens)[None], conditioning[0][None], TokenGrid(height=8, width=8))
        found = tiny_model(noisy, time, labels).sample
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-4)


def test_a_fresh_merge_is_the_identity_on_dense_tokens(tiny_base: DiTTransformer2DModel) -> None:
    model = FlexDiT.from_base(tiny_base)
    model.add_merges([3])
    merge = model.merges["3"]
    dense, sparse = torch.randn(2, 64, 16), torch.randn(2, 9, 16)
    out = merge(sparse, dense, sparse_grid=TokenGrid(height=3, width=3), grid=TokenGrid(height=8, width=8))
    torch.testing.assert_close(out, dense)
    out.square().sum().backward()
    assert merge.sparse.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["dense", "pool", "sparse", "two merges"])
def test_macs_equal_torchs_flop_counter(tiny_base: DiTTransformer2DModel, name: str) -> None:
    """Rule: one multiply-accumulate is two of torch's flops; element-wise work and pooling count nothing."""
    schedule = {
        "dense": DensitySchedule.all_dense(6),
        "pool": DensitySchedule(segments=(Pooling(depth=2), Dense(depth=4))),
        "sparse": DensitySchedule(
            segments=(Pooling(depth=1), Sdtm(sparse=1, dense=0), Dense(depth=2)), timetable=Timetable(grids=(5,))
        ),
        "two merges": DensitySchedule(segments=(Sdtm(merge=2, sparse=2, dense=1),), timetable=Timetable(grids=(3,))),
    }[name]
    model = FlexDiT.from_base(tiny_base, schedule=schedule).eval()
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*inputs(1))
    assert counter.get_total_flops() == 2 * plan_macs(model.plan(), model.shape)


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
        base = DiTTransformer2DModel(**KNOWN_CONFIGS[checkpoint])
        model = FlexDiT(base=base, schedule=schedule.to_dict(), tied=True)
    counted = sum(weight.numel() for weight in model.parameters()) + base.pos_embed.pos_embed.numel()
    for block in model.plan().blocks("pool"):
        attention = base.transformer_blocks[block].attn1
        counted -= sum(w.numel() for part in (attention.to_q, attention.to_k) for w in part.parameters())
    assert counted == expected
    assert plan_params(model.plan(), model.shape) == expected


def test_set_schedule_changes_the_route_and_no_weight(tiny_model: FlexDiT, sparse_schedule: DensitySchedule) -> None:
    before = {key: value.clone() for key, value in tiny_model.state_dict().items()}
    with torch.inference_mode():
        sparse = tiny_model(*inputs()).sample
        tiny_model.set_schedule(DensitySchedule.all_dense(6))
        dense = tiny_model(*inputs()).sample
        tiny_model.set_schedule(sparse_schedule)
        assert torch.equal(tiny_model(*inputs()).sample, sparse)
    assert not torch.equal(sparse, dense)
    assert all(torch.equal(value, before[key]) for key, value in tiny_model.state_dict().items())


def test_save_and_load_carry_the_schedule(tiny_model: FlexDiT, tmp_path: Path) -> None:
    tiny_model.save_pretrained(tmp_path, safe_serialization=True)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    again = FlexDiT.from_pretrained(tmp_path).eval()
    assert again.schedule == tiny_model.schedule
    with torch.inference_mode():
        for time in (100.0, 900.0):
            assert torch.equal(again(*inputs(time=time)).sample, tiny_model(*inputs(time=time)).sample)


def test_saved_embedders_are_shared_again(tiny_base: DiTTransformer2DModel, tmp_path: Path) -> None:
    for block in tiny_base.transformer_blocks[1:]:
        block.norm1.emb = copy.deepcopy(tiny_base.transformer_blocks[0].norm1.emb)
    model = FlexDiT.from_base(tiny_base).eval()
    model.save_pretrained(tmp_path, safe_serialization=True)
    again = FlexDiT.from_pretrained(tmp_path).eval()
    assert sum(weight.numel() for weight in again.parameters()) == sum(weight.numel() for weight in model.parameters())
    with torch.inference_mode():
        assert torch.equal(again(*inputs()).sample, model(*inputs()).sample)


def test_the_base_can_be_given_back_as_diffusers_saves_it(tiny_base: DiTTransformer2DModel) -> None:
    for block in tiny_base.transformer_blocks[1:]:
        block.norm1.emb = copy.deepcopy(tiny_base.transformer_blocks[0].norm1.emb)
    expected = {key: value.clone() for key, value in tiny_base.state_dict().items()}
    given_back = untied(FlexDiT.from_base(tiny_base).base).state_dict()
    assert given_back.keys() == expected.keys()
    assert all(torch.equal(given_back[key], value) for key, value in expected.items())


def test_stages_follow_the_timestep(tiny_model: FlexDiT) -> None:
    with torch.inference_mode():
        for time, stage in ((100.0, 0), (499.0, 0), (500.0, 1), (900.0, 1)):
            expected = tiny_model(*inputs(time=time), stage=stage).sample
            other = tiny_model(*inputs(time=time), stage=1 - stage).sample
            assert torch.equal(tiny_model(*inputs(time=time)).sample, expected)
            assert not torch.equal(expected, other)


def test_a_batch_of_two_stages_is_refused(tiny_model: FlexDiT) -> None:
    noisy, _, labels = inputs()
    with pytest.raises(UserError, match="one stage"):
        tiny_model(noisy, torch.tensor([100.0, 900.0, 100.0]), labels)


def test_gradients_reach_every_weight_that_the_plan_uses(tiny_model: FlexDiT) -> None:
    tiny_model.train()
    tiny_model(*inputs()).sample.square().mean().backward()
    unused = {name for name, weight in tiny_model.named_parameters() if weight.grad is None or not weight.grad.any()}
    pooled = tiny_model.plan().blocks("pool")
    expected = {
        f"base.transformer_blocks.{block}.attn1.{part}.{kind}"
        for block in pooled
        for part in ("to_q", "to_k")
        for kind in ("weight", "bias")
    }
    key_biases = {name for name in unused if name.endswith("attn1.to_k.bias")}  # softmax does not see them
    assert unused - key_biases == expected - key_biases


def test_gradient_checkpointing_changes_no_gradient(tiny_model: FlexDiT) -> None:
    gradients = []
    for checkpointing in (False, True):
        tiny_model.zero_grad()
        tiny_model.train()
        tiny_model.gradient_checkpointing = False
        if checkpointing:
            tiny_model.enable_gradient_checkpointing()
        tiny_model(*inputs()).sample.square().mean().backward()
        gradients.append([None if w.grad is None else w.grad.clone() for w in tiny_model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert (plain is None) == (checkpointed is None)
        if plain is not None:
            torch.testing.assert_close(plain, checkpointed)


def test_grids_other_than_square_round_trip(tiny_model: FlexDiT) -> None:
    grid = TokenGrid(height=8, width=12)
    noisy, time, labels = inputs(height=16, width=24)
    assert tiny_model.grid_of(noisy) == grid
    sparse = tiny_model.plan(grid).stages[1][1].queries
    assert (sparse.height, sparse.width) == (3, 4)
    tokens = torch.randn(2, grid.num_tokens, 16)
    assert downsample(tokens, grid, sparse).shape == (2, 12, 16)
    assert upsample(downsample(tokens, grid, sparse), sparse, grid).shape == tokens.shape
    assert torch.equal(upsample(tokens, grid, grid), tokens)
    with torch.inference_mode():
        assert tiny_model(noisy, time, labels).sample.shape == noisy.shape


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
    assert tiny_model.plan(grid) == lower(tiny_model.schedule, num_blocks=6, grid=grid)
