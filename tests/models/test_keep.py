"""The family `keep`: tokens that bypass blocks, on DiT, PixArt-alpha and Latte."""

from typing import Any, Literal

import pytest
import torch
from backbone_suite import check_macs_and_batches, flops_of, randomised, spy_on_blocks
from builders import LATENT, TEXT, VIDEO
from torch import Tensor

from flexsearch.data.conditions import random_condition
from flexsearch.models.backbones import backbone_named
from flexsearch.models.backbones.call import Call, Places
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.roles.keep import Router
from flexsearch.models.roles.role_module import Compute
from flexsearch.models.tokens import Tokens
from flexsearch.schedule import Cache, Candidate, Dense, DensitySchedule, Sampling, Target, TokenGrid, lower
from flexsearch.schedule.families.keep import Keep
from flexsearch.schedule.timetable import Timetable, equal_edges
from flexsearch.schedule.width import Kept

CONFIGS = {"dit": {**LATENT, "num_embeds_ada_norm": 10}, "pixart": TEXT, "latte": VIDEO}
Scope = Literal["mlp", "block"]
SCOPES: tuple[Scope, ...] = ("mlp", "block")


def schedule_of(scope: Scope, *, clean: int = 4, noise: int | None = None, stages: int = 1) -> DensitySchedule:
    segments = (Dense(depth=1), Keep(depth=1, scope=scope, tokens=Kept(clean=clean, noise=noise)))
    return DensitySchedule(segments=segments, timetable=Timetable(edges=equal_edges(stages), grids=(1,) * stages))


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> FlexDiT:
    base = backbone_named(request.param, field="backbone").base_class(**CONFIGS[request.param] | {"num_layers": 2})
    return randomised(FlexDiT.from_base(base, backbone=request.param)).eval()


def inputs_of(model: FlexDiT, *, batch: int = 2, time: float = 700.0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)
    noisy = torch.randn(batch, *model.shape.sample_size, generator=generator)
    condition = random_condition(model.shape, batch=batch, generator=generator)
    return {"hidden_states": noisy, "timestep": torch.full((batch,), time), **condition}


def randomise_routers(model: FlexDiT) -> None:
    for module in model.modules():
        if isinstance(module, Router):
            torch.nn.init.normal_(module.score.weight, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("scope", SCOPES)
def test_all_tokens_are_the_dense_base(model: FlexDiT, scope: Scope) -> None:
    """By digest, by operation and to the bit, also in a stage of a schedule that bypasses in another."""
    full, dense = schedule_of(scope, clean=8, noise=8, stages=2), DensitySchedule.all_dense(2)
    assert full.digest == dense.digest
    assert full.is_dense
    inputs = inputs_of(model, time=100.0)
    with torch.inference_mode():
        expected = model(**inputs).sample
        for one in (full, schedule_of(scope, clean=8, noise=4, stages=2)):
            model.set_schedule(one)
            randomise_routers(model)
            assert model.graphs()[0].route == dense.routes(model.shape.grid)[0]
            assert torch.equal(model(**inputs).sample, expected)


@pytest.mark.parametrize("scope", SCOPES)
def test_macs_equal_torchs_counter_and_images_do_not_depend_on_their_batch(model: FlexDiT, scope: Scope) -> None:
    model.set_schedule(schedule_of(scope, clean=5))
    randomise_routers(model)
    check_macs_and_batches(model, inputs_of(model))


def test_a_block_runs_among_the_tokens_that_it_keeps_and_others_pass(model: FlexDiT) -> None:
    """Before training: the dense block on these alone; the tokens of most detail, as many in every frame."""
    if model.shape.has_temporal_blocks:
        pytest.skip("the temporal block moves all tokens")
    entered: list[Tensor] = []
    left: list[Tensor] = []
    model.set_schedule(schedule_of("block", clean=3))
    calls: list[Call] = []

    def spy(compute: Compute, entering: Tokens, call: Call) -> Tokens:
        entered.append(entering.dense)
        calls.append(call)
        tokens = compute(entering, call)
        left.append(tokens.dense)
        return tokens

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        spy_on_blocks(patch, spy)
        inputs = inputs_of(model)
        model(**inputs)
        before, after = entered[1], left[1]
        places, gates = next(iter(model.keep.values()))(before, model.shape.grid, 24)
        assert gates.eq(1).all()
        moved = (before != after).any(dim=-1)
        assert moved.sum(dim=1).tolist() == [24, 24]
        assert torch.equal(moved.nonzero()[:, 1].view(2, 24), places.squeeze(-1))
        call = calls[1]._replace(
            queries=Places(TokenGrid(height=1, width=24)), keys=Places(TokenGrid(height=1, width=24))
        )
        rows = before.gather(1, places.expand(-1, -1, 24))
        expected, _ = call.run(rows, rows, None)
    torch.testing.assert_close(after.gather(1, places.expand(-1, -1, 24)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scope", SCOPES)
def test_the_score_learns_and_is_saved(model: FlexDiT, scope: Scope, tmp_path: Any) -> None:
    """Weights are added in whatever stage bypasses first."""
    model.set_schedule(schedule_of(scope, clean=8, noise=4, stages=2))
    inputs = inputs_of(model)
    model.train()
    model(**inputs).sample.square().mean().backward()
    routers = [module for module in model.modules() if isinstance(module, Router)]
    assert len(routers) == 1
    assert routers[0].score.weight.grad.abs().max() > 0
    randomise_routers(model)
    model.eval()
    model.drop_unused_weights()
    model.save_pretrained(tmp_path, safe_serialization=True)
    again = FlexDiT.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        assert torch.equal(again(**inputs).sample, model(**inputs).sample)


@pytest.mark.parametrize("scope", SCOPES)
def test_modules_that_are_reused_go_to_the_tokens_that_they_came_from(model: FlexDiT, scope: Scope) -> None:
    """A partial call at the same data equals the full one, and asks no router."""
    model.set_schedule(schedule_of(scope))
    randomise_routers(model)
    cache = Cache(pattern="FFp", first=0, reuse="modules")
    candidate = Candidate(schedule=model.schedule, sampling=Sampling(steps=3, cache=cache))
    full, _, partial = (step.graph for step in lower(candidate, Target(shape=model.shape)).steps)
    inputs = inputs_of(model)
    with torch.inference_mode():
        expected = model(**inputs, graph=full)
        found = model(**inputs, graph=partial, reused=expected.left).sample
    torch.testing.assert_close(found, expected.sample, rtol=1e-4, atol=1e-5)
    (_, flops), text = flops_of(lambda: model(**inputs, graph=partial, reused=expected.left)), model.shape.text_tokens
    assert text or flops == 2 * 2 * partial.macs(model.shape)


def test_it_compiles_without_a_graph_break(model: FlexDiT) -> None:
    if model.shape.text_tokens:
        pytest.skip("once is enough: the role is the same")
    model.set_schedule(schedule_of("block"))
    inputs = inputs_of(model)
    with torch.inference_mode():
        expected = model(**inputs).sample
        model.compile_stages(backend="eager")
        torch.testing.assert_close(model(**inputs).sample, expected, rtol=1e-4, atol=1e-5)
