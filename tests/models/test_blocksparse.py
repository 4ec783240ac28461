"""The family `blocksparse`: queries that read some blocks of keys, on DiT, PixArt-alpha, Latte and Wan."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from backbone_suite import check_macs_and_batches, randomised
from builders import LATENT, TEXT, VIDEO, WAN
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from flexsearch.data.conditions import random_condition
from flexsearch.diffusion.sampling import plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import UserError
from flexsearch.export.graphs import export_programs
from flexsearch.models.backbones import backbone_named
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.roles.blocksparse import (
    _read,
    chosen_blocks,
    gathered_attention,
    kernel_attention,
)
from flexsearch.schedule import Cache, Candidate, Dense, DensitySchedule, Sampling, Target, lower
from flexsearch.schedule.families import blocksparse
from flexsearch.schedule.families.blocksparse import TILE, Blocksparse, num_kept
from flexsearch.schedule.timetable import Timetable, equal_edges
from flexsearch.schedule.width import Kept

CONFIGS = {
    "dit": {**LATENT, "num_embeds_ada_norm": 10, "sample_size": 64},
    "pixart": {**TEXT, "sample_size": 50},
    "latte": {**VIDEO, "sample_size": 50, "video_length": 2},
    "wan": {**WAN, "sample_size": (4, 16, 32)},
}
"""1,024 tokens of a DiT, 512 of a Wan, 625 of the others (a frame), which is no multiple of 128."""


def schedule_of(*, clean: int = 3, noise: int | None = None, stages: int = 1) -> DensitySchedule:
    segments = (Dense(depth=1), Blocksparse(depth=1, blocks=Kept(clean=clean, noise=noise)))
    return DensitySchedule(segments=segments, timetable=Timetable(edges=equal_edges(stages), grids=(1,) * stages))


@pytest.fixture(autouse=True)
def few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule about what is long enough has a test of its own, so that the others are fast."""
    monkeypatch.setattr(blocksparse, "LEAST_TOKENS", 512)


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> FlexDiT:
    return model_of(request.param)


def model_of(backbone: str) -> FlexDiT:
    base = backbone_named(backbone, field="backbone").base_class.from_config(CONFIGS[backbone] | {"num_layers": 2})
    return randomised(FlexDiT.from_base(base, backbone=backbone)).eval()


def inputs_of(model: FlexDiT, *, batch: int = 2, time: float = 700.0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)
    noisy = torch.randn(batch, *model.shape.sample_size, generator=generator)
    condition = random_condition(model.shape, batch=batch, generator=generator)
    return {"hidden_states": noisy, "timestep": torch.full((batch,), time), **condition}


def rows_of(*, tokens: int, batch: int = 2, heads: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(batch, heads, tokens, 16, generator=generator) for _ in range(3))
    return query, key, value


def masked(query: Tensor, key: Tensor, value: Tensor, chosen: Tensor) -> Tensor:
    """Dense attention, with what is not chosen masked."""
    tiles, n = chosen.shape[2], key.shape[2]
    of_blocks = torch.zeros(*chosen.shape[:2], tiles, tiles, dtype=torch.bool).scatter(-1, chosen, True)
    of_tokens = of_blocks.repeat_interleave(TILE, dim=2).repeat_interleave(TILE, dim=3)[:, :, :n, :n]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=of_tokens)


def test_all_blocks_are_the_dense_base(model: FlexDiT) -> None:
    """By digest, by operation and to the bit, also in a stage of a schedule that leaves blocks out in another."""
    full, dense = schedule_of(clean=8, noise=8, stages=2), DensitySchedule.all_dense(2)
    assert full.digest == dense.digest
    assert full.is_dense
    assert str(schedule_of(clean=8, noise=4, stages=2)) == "Db blocks 8,4/8 in 1-1"
    inputs = inputs_of(model, batch=1, time=100.0)
    with torch.inference_mode():
        expected = model(**inputs).sample
        for one in (full, schedule_of(clean=8, noise=4, stages=2)):
            model.set_schedule(one)
            assert model.graphs()[0].route == dense.routes(model.shape.grid)[0]
            assert torch.equal(model(**inputs).sample, expected)


def test_macs_equal_torchs_counter_and_images_do_not_depend_on_their_batch(model: FlexDiT) -> None:
    model.set_schedule(schedule_of())
    check_macs_and_batches(model, inputs_of(model))


@pytest.mark.parametrize("tokens", [1024, 1100])
def test_it_is_masked_attention_and_so_are_its_gradients(tokens: int) -> None:
    rows = rows_of(tokens=tokens)
    chosen = chosen_blocks(*rows[:2], num_kept(tokens, 2))
    gradients = []
    for attend in (gathered_attention, masked):
        for one in rows:
            one.grad = None
            one.requires_grad_()
        read = attend(*rows, chosen)
        read.square().sum().backward()
        gradients.append((read.detach(), *(one.grad for one in rows)))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_heads_choose_the_blocks_that_hold_their_mass() -> None:
    """Of queries that were made from some block's keys, that block first; each head its own."""
    _, key, _ = rows_of(tokens=1024)
    key = key + 2 * torch.randn(2, 2, 8, 1, 16, generator=torch.Generator().manual_seed(4)).expand(
        -1, -1, -1, TILE, -1
    ).flatten(2, 3)
    order = torch.stack([torch.randperm(8, generator=torch.Generator().manual_seed(one)) for one in range(4)])
    wanted = order.unflatten(0, (2, 2))
    means = key.unflatten(2, (8, TILE)).mean(dim=3)
    means = means / means.norm(dim=-1, keepdim=True)
    query = means.gather(2, wanted[..., None].expand_as(means)).repeat_interleave(TILE, dim=2)
    chosen = chosen_blocks(query, key / key.norm(dim=-1, keepdim=True), 2)
    assert chosen.shape == (2, 2, 8, 2)
    assert (chosen == wanted[..., None]).any(dim=-1).float().mean() > 0.9
    for row in chosen.flatten(0, 2):
        assert len(set(row.tolist())) == 2


def test_a_short_last_block_is_chosen_by_the_mean_of_its_tokens() -> None:
    _, key, _ = rows_of(tokens=1024 + 8)
    key[:, :, -8:] = 3.0
    query = torch.ones_like(key)
    assert (chosen_blocks(query, key, 1) == 8).all()


def test_it_compiles_without_a_graph_break() -> None:
    """`flex_attention` where no gradient is asked for, which is the same; on a CPU, gathered blocks where one is."""
    model = model_of("pixart")
    model.set_schedule(schedule_of())
    inputs = inputs_of(model, batch=1)
    with torch.inference_mode():
        expected = model(**inputs).sample
        model.compile_stages(backend="eager")
        torch.testing.assert_close(model(**inputs).sample, expected, rtol=1e-4, atol=1e-5)
    rows = [one.requires_grad_() for one in rows_of(tokens=512, batch=1)]
    compiled = torch.compile(partial(_read, eighths=2), backend="eager", fullgraph=True, dynamic=False)
    compiled(*rows).sum().backward()
    assert all(one.grad is not None for one in rows)


def test_it_waits_for_nothing() -> None:
    """Tensors on torch's meta device have no values to wait for."""
    rows = rows_of(tokens=1100)
    assert _read(*(one.to("meta") for one in rows), eighths=2).shape == rows[0].shape


def test_modules_are_reused() -> None:
    model = model_of("wan")
    model.set_schedule(schedule_of())
    cache = Cache(pattern="FFp", first=0, reuse="modules")
    candidate = Candidate(schedule=model.schedule, sampling=Sampling(steps=3, cache=cache))
    full, _, partial_step = (step.graph for step in lower(candidate, Target(shape=model.shape)).steps)
    inputs = inputs_of(model, batch=1)
    with torch.inference_mode():
        expected = model(**inputs, graph=full)
        found = model(**inputs, graph=partial_step, reused=expected.left).sample
    torch.testing.assert_close(found, expected.sample, rtol=1e-4, atol=1e-5)


def test_fewer_tokens_than_are_worth_it_are_refused_in_a_call_too() -> None:
    model = model_of("wan")
    model.set_schedule(schedule_of())
    inputs = inputs_of(model, batch=1)
    inputs["hidden_states"] = inputs["hidden_states"][:, :, :2]
    with pytest.raises(UserError, match="at least 512, but here it is 256"), torch.inference_mode():
        model(**inputs)


@pytest.mark.slow
def test_it_is_exported_as_gathered_blocks(tmp_path: Path) -> None:
    model = model_of("dit")
    model.set_schedule(schedule_of())
    scheduler = FlowMatchEulerDiscreteScheduler()
    plan = plan_of(model, scheduler, Sampling(steps=1), SamplingSettings())
    index = export_programs(model, tmp_path / "programs", plan=plan, scheduler=scheduler)
    assert [one["max_difference"] for one in index["graphs"]] == [0.0]


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1024, 1100])
def test_the_kernel_is_masked_attention(tokens: int) -> None:
    rows = rows_of(tokens=tokens)
    with torch.no_grad():
        chosen = chosen_blocks(*rows[:2], 3)
        found = torch.compile(kernel_attention, fullgraph=True, dynamic=False)(*rows, chosen)
        torch.testing.assert_close(found, masked(*rows, chosen), rtol=1e-4, atol=1e-5)
