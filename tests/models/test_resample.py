"""Resampling between token grids: what is learned, where it starts, and the roles of `sdtm` that use it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from backbone_suite import flops_of, randomised
from builders import CENTRED, LATENT, MMDIT, ONE_SEQUENCE, PACKED, SANA, TEXT, VIDEO, WAN
from test_own_grids import inputs_of

from flexsearch.latency.axes import Axes
from flexsearch.latency.design import designed_plans
from flexsearch.models.backbones import backbone_named
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.fold import fold_gain
from flexsearch.models.resample import Resampler
from flexsearch.models.tokens import downsample, upsample
from flexsearch.schedule import (
    Cache,
    Candidate,
    Dense,
    DensitySchedule,
    Gain,
    Plan,
    Sampling,
    Sdtm,
    Target,
    TokenGrid,
    lower,
)
from flexsearch.schedule.cost import model_params
from flexsearch.schedule.families.sdtm import Resample
from flexsearch.schedule.timetable import OwnGrid, Timetable

CONFIGS = {
    "dit": {**LATENT, "num_embeds_ada_norm": 10},
    "pixart": TEXT,
    "latte": VIDEO,
    "sd3": MMDIT,
    "flux": PACKED,
    "qwen_image": CENTRED,
    "z_image": ONE_SEQUENCE,
    "sana": SANA,
    "wan": WAN,
}
KINDS: tuple[Resample, ...] = ("average", "bilinear", "learned")
GRIDS = [
    (TokenGrid(height=8, width=8), TokenGrid(height=4, width=4)),
    (TokenGrid(height=8, width=6), TokenGrid(height=3, width=5)),
    (TokenGrid(frames=4, height=6, width=8), TokenGrid(frames=2, height=5, width=3)),
]


def schedule_of(resample: Resample, *, frames: int | None = None) -> DensitySchedule:
    """Two modules, two merges in the first, on grids that do not divide the dense one."""
    segments = (
        Sdtm(merge=2, sparse=0, dense=0, resample=resample, grid=OwnGrid(clean=5)),
        Sdtm(sparse=0, dense=0, resample=resample, grid=OwnGrid(clean="3x5")),
        Dense(depth=1),
    )
    return DensitySchedule(segments=segments, timetable=Timetable(frames=frames))


def model_of(backbone: str, schedule: DensitySchedule | None = None) -> FlexDiT:
    base = backbone_named(backbone, field="backbone").base_class.from_config(CONFIGS[backbone])
    model = FlexDiT.from_base(base, backbone=backbone)
    model.set_schedule(schedule or schedule_of("average"))
    return randomised(model).eval()


def resampler(width: int = 6, *, tau: float) -> Resampler:
    """One with Gaussians of all shapes."""
    found = Resampler(width)
    torch.nn.init.normal_(found.gaussian.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.init.constant_(found.tau, tau)
    return found


def tokens_on(grid: TokenGrid) -> torch.Tensor:
    return torch.randn(2, grid.num_tokens, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("dense", "sparse"), GRIDS)
@torch.inference_mode()
def test_it_starts_as_the_fixed_operator_to_the_bit_and_keeps_constant_maps(
    dense: TokenGrid, sparse: TokenGrid
) -> None:
    fine, coarse = tokens_on(dense), tokens_on(sparse)
    start, moved = resampler(tau=0.0), resampler(tau=0.7)
    assert torch.equal(start.down(fine, dense, sparse), downsample(fine, dense, sparse))
    assert torch.equal(start.up(coarse, sparse, dense, sparse=coarse), upsample(coarse, sparse, dense))
    assert not torch.allclose(moved.down(fine, dense, sparse), downsample(fine, dense, sparse), rtol=0.1)
    values = torch.tensor([3.0, -2.0]).repeat(2, sparse.num_tokens, 1)
    spread = moved.up(values, sparse, dense, sparse=coarse)
    torch.testing.assert_close(spread, values[:, :1].expand(-1, dense.num_tokens, -1))
    for source, places, one in ((dense, sparse, fine), (sparse, dense, coarse)):
        framed = TokenGrid(frames=source.frames, height=places.height, width=places.width)
        weights = moved.weights(one, source, framed)
        assert weights.shape[1:] == (places.height * places.width, source.height * source.width)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:2]))


@torch.inference_mode()
def test_the_first_gaussians_are_one_cell_wide_and_sharp_ones_pick_a_token() -> None:
    """A sharp Gaussian is the identity on its own grid, and on places shifted by whole tokens the shift."""
    grid, row = TokenGrid(height=3, width=4), TokenGrid(height=1, width=4)
    start, tokens = Resampler(6), tokens_on(grid)
    expected = torch.softmax(-0.5 * (torch.arange(4)[:, None] - torch.arange(4)).square(), dim=-1)
    torch.testing.assert_close(start.weights(tokens_on(row), row, row), expected.expand(2, -1, -1))
    torch.nn.init.constant_(start.gaussian.bias[1:], 20.0)  # s = 10
    torch.testing.assert_close(start.weights(tokens, grid, grid), torch.eye(12).expand(2, -1, -1))
    with pytest.MonkeyPatch.context() as patch:
        from flexsearch.models import resample

        offsets = resample.offsets

        def shifted(*arguments: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
            down, across = offsets(*arguments, **options)
            return down, across + 1

        patch.setattr(resample, "offsets", shifted)
        weights = start.weights(tokens, grid, grid)
    moved = (weights @ tokens).view(2, 3, 4, 6)
    torch.testing.assert_close(moved[:, :, :-1], tokens.view(2, 3, 4, 6)[:, :, 1:])


@torch.inference_mode()
def test_a_correlation_turns_the_gaussian() -> None:
    grid, tokens = TokenGrid(height=3, width=3), torch.zeros(1, 9, 6)
    for bias, place in ((3.0, 8), (-3.0, 2)):
        found = Resampler(6)
        torch.nn.init.constant_(found.gaussian.bias[0], bias)
        weights = found.weights(tokens, grid, grid)[0, 4].tolist()
        assert weights[place] > 2 * weights[{8: 2, 2: 8}[place]], "along its diagonal"


@pytest.mark.parametrize("backbone", CONFIGS)
def test_on_every_backbone(backbone: str, tmp_path: Path) -> None:
    """The average's bits at the start, from the same weights; costs are torch's; what is learned is saved; images do
    not depend on their batch; the fused form is the same."""
    frames = 2 if "latte" in backbone or "wan" in backbone else None
    model = model_of(backbone, schedule_of("average", frames=frames))
    inputs = inputs_of(model, batch=2, time=700.0)
    one = {name: value[:1] for name, value in inputs.items()}
    condition = {name: value for name, value in one.items() if name not in ("hidden_states", "timestep")}
    with torch.no_grad():
        expected, text = model(**inputs).sample, model.read_text(**condition)
        model.set_schedule(schedule_of("learned", frames=frames))
        assert torch.equal(model(**inputs).sample, expected)
        model.set_schedule(schedule_of("bilinear", frames=frames))
        assert not torch.allclose(model(**inputs).sample, expected, rtol=1e-3)
    for kind in ("bilinear", "learned"):
        model.set_schedule(schedule_of(kind, frames=frames))
        randomised(model, seed=3)
        (graph,) = model.graphs()
        _, flops = flops_of(lambda: model(**one, graph=graph, text=text))  # noqa: B023 - called at once
        assert flops == 2 * graph.macs(model.shape)
        with torch.no_grad():
            found = model(**inputs).sample
        assert kind == "bilinear" or not torch.allclose(found, expected, rtol=1e-3)
    model.drop_unused_weights()
    model.save_pretrained(tmp_path, safe_serialization=True)
    again = FlexDiT.from_pretrained(tmp_path).eval()
    assert again.schedule == model.schedule
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).sample, found, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(model(**one).sample, found[:1], rtol=1e-4, atol=1e-4)
        again.fuse()
        torch.testing.assert_close(again(**inputs).sample, found, rtol=1e-4, atol=1e-4)


def test_what_is_learned_has_gradients_and_parameters_are_counted() -> None:
    """At the start of how much is taken; from then on of the Gaussians, too."""
    model = model_of("dit", schedule_of("learned"))
    for resample in (one for one in model.modules() if isinstance(one, Resampler)):
        torch.nn.init.zeros_(resample.tau)
    held = sum(weight.numel() for weight in model.parameters()) + model.base.pos_embed.pos_embed.numel()
    assert model_params(model.schedule.roles, model.shape) == held
    model.train()
    for tau in (0.0, 0.5):
        for resample in (one for one in model.modules() if isinstance(one, Resampler)):
            torch.nn.init.constant_(resample.tau, tau)
        model.zero_grad()
        model(**inputs_of(model, time=700.0)).sample.square().mean().backward()
        found = [one for one in model.modules() if isinstance(one, Resampler)]
        assert len(found) == 4, "to sparse tokens and back, of two modules"
        for resample in found:
            assert resample.tau.grad.abs() > 0
            gradient = resample.gaussian.weight.grad
            assert (gradient is not None and gradient.abs().max() > 0) == (tau > 0)


def test_roles_and_names() -> None:
    texts = {kind: str(schedule_of(kind)) for kind in KINDS}
    assert texts == {
        "average": "MMRMRD @5/3x5",
        "bilinear": "MMBMBD @5/3x5",
        "learned": "lMLlLD @5/3x5",
    }
    assert len({schedule_of(kind).digest for kind in KINDS}) == 3
    for kind in KINDS:
        values = schedule_of(kind).to_dict()
        assert values["segments"][0].get("resample", "average") == kind
        assert DensitySchedule.from_dict(values) == schedule_of(kind)
    assert "resample" not in schedule_of("average").to_dict()["segments"][0]


def test_a_gain_is_left_to_the_run_and_modules_are_reused() -> None:
    """A Gaussian reads tokens without a norm, so that a factor on them cannot go into weights."""
    model = model_of("dit", schedule_of("learned"))
    gain = Gain(stream=0.9, at=1, skip=0.8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert fold_gain(model, Sampling(steps=2, gain=gain)) == gain
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    cache = Cache(pattern="FFp", first=0, reuse="modules")
    candidate = Candidate(schedule=model.schedule, sampling=Sampling(steps=3, cache=cache))
    full, _, partial = (step.graph for step in lower(candidate, Target(shape=model.shape)).steps)
    inputs = inputs_of(model, batch=1, time=900.0)
    with torch.inference_mode():
        expected = model(**inputs, graph=full)
    found, flops = flops_of(lambda: model(**inputs, graph=partial, reused=expected.left))
    assert flops == 2 * partial.macs(model.shape)
    torch.testing.assert_close(found.sample, expected.sample, rtol=1e-4, atol=1e-5)


def test_a_profile_tells_their_times() -> None:
    target, timetables = Target(shape=model_of("dit").shape), [Timetable(grids=(side,)) for side in (5, "3x5")]

    def held(plans: list[Plan]) -> set[Any]:
        return {operation.key for plan in plans for graph in plan.graphs for operation in graph.route}

    plain = designed_plans(target, families=[Sdtm], timetables=timetables, operations=[], axes=Axes())
    for kind in KINDS:
        plan = lower(Candidate(schedule=schedule_of(kind), sampling=Sampling(steps=2)), target)
        operations = [operation for graph in plan.graphs for operation in graph.route]
        timed = designed_plans(target, families=[Sdtm], timetables=timetables, operations=operations, axes=Axes())
        assert held([plan]) <= held(timed)
        assert (len(timed) == len(plain)) == (kind == "average"), "only what is wanted is timed"
