"""Layers whose weights rest in the CPU's memory: each is read by a call of its layer alone.

Inputs on the meta device are the stand-in for a GPU: to read a resting weight without a call is an error there.
"""

import copy
from typing import Any

import pytest
import torch
from backbone_suite import randomised
from builders import CENTRED, LATENT, MMDIT, ONE_SEQUENCE, PACKED, SANA, TEXT, VIDEO, WAN
from diffusers import (
    DiTTransformer2DModel,
    FluxTransformer2DModel,
    LatteTransformer3DModel,
    PixArtTransformer2DModel,
    QwenImageTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    WanTransformer3DModel,
    ZImageTransformer2DModel,
)
from torch import nn

from flexsearch.data.conditions import random_condition
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.offload import OFFLOADED, offload_layers
from flexsearch.schedule import Dense, DensitySchedule, Pooling, Sdtm, Timetable

BASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "dit": (DiTTransformer2DModel, LATENT | {"num_embeds_ada_norm": 10}),
    "pixart": (PixArtTransformer2DModel, TEXT),
    "latte": (LatteTransformer3DModel, VIDEO),
    "sd3": (SD3Transformer2DModel, MMDIT | {"dual_attention_layers": [0, 2]}),
    "flux": (FluxTransformer2DModel, PACKED | {"guidance_embeds": True}),
    "qwen_image": (QwenImageTransformer2DModel, CENTRED),
    "z_image": (ZImageTransformer2DModel, ONE_SEQUENCE),
    "sana": (SanaTransformer2DModel, SANA),
    "wan": (WanTransformer3DModel, WAN),
}


def model_of(backbone: str) -> FlexDiT:
    base_class, config = BASES[backbone]
    return FlexDiT.from_base(randomised(base_class.from_config(config)), backbone=backbone).eval()


def sparse(model: FlexDiT) -> DensitySchedule:
    """Every role of tokens on grids, for as many blocks as the model has."""
    rest = model.shape.num_blocks - 4
    segments = (Pooling(depth=1), Sdtm(sparse=rest, dense=0), Dense(depth=1))
    return DensitySchedule(segments=segments, timetable=Timetable(grids=(3,)))


def called(model: FlexDiT, device: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(2, *model.shape.sample_size, generator=generator)
    condition = random_condition(model.shape, batch=2, generator=generator)
    with torch.inference_mode():
        text = model.read_text(**{name: value.to(device) for name, value in condition.items()})
        output: torch.Tensor = model(
            noisy.to(device),
            torch.full((2,), 500.0, device=device),
            text=text,
            **{name: value.to(device) for name, value in condition.items()},
        ).sample
    return output


@pytest.mark.parametrize("backbone", BASES)
def test_resting_weights_are_read_by_calls_alone(backbone: str) -> None:
    model = model_of(backbone)
    resting = [layer for layer in model.modules() if isinstance(layer, OFFLOADED)]
    before = [layer.weight for layer in resting]
    assert sum(weight.numel() for weight in before) > 0.7 * sum(weight.numel() for weight in model.parameters())
    model.offload_layers("meta")
    model.set_schedule(sparse(model))
    assert model.device == torch.device("meta")
    assert called(model, "meta").shape == (2, model.shape.out_channels, *model.shape.sample_size[1:])
    assert all(layer.weight is weight for layer, weight in zip(resting, before, strict=True))
    assert {weight.device.type for weight in before} == {"cpu"}


@pytest.mark.parametrize("backbone", ["flux", "wan"])
def test_outputs_stay_as_they_are(backbone: str) -> None:
    model = model_of(backbone)
    expected = called(model, "cpu")
    offloaded = copy.deepcopy(model)
    offloaded.offload_layers("cpu")
    assert torch.equal(called(offloaded, "cpu"), expected)
    assert torch.equal(called(offloaded.view(), "cpu"), expected)
    assert set(offloaded.state_dict()) == set(model.state_dict())
    assert (offloaded.is_offloaded, model.is_offloaded) == (True, False)


def test_a_call_that_fails_leaves_weights_where_they_rest() -> None:
    layer = nn.Linear(4, 4)
    weight = layer.weight
    offload_layers(layer, "cpu")
    with pytest.raises(RuntimeError):
        layer(torch.zeros(1, 3))
    assert layer.weight is weight
