"""Modules with sparse grids of their own, on square and other bases: what is computed, and saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from backbone_suite import flops_of, randomised
from builders import LATENT, PACKED, VIDEO, WAN

from flexsearch.data.conditions import random_condition
from flexsearch.models.backbones import backbone_named
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule import Dense, DensitySchedule, Sdtm
from flexsearch.schedule.timetable import OwnGrid, Timetable, equal_edges

CONFIGS = {
    "dit": {**LATENT, "num_embeds_ada_norm": 10},
    "flux": PACKED,
    "latte": VIDEO,
    "wan": {**WAN, "sample_size": (4, 12, 20)},
}
"""Also text and image in one softmax, places by rotary tables, and of the last 6 x 10 tokens a frame."""
SEGMENTS = (
    Sdtm(sparse=0, dense=0, grid=OwnGrid(clean=5, noise=2)),
    Sdtm(sparse=0, dense=0, grid=OwnGrid(clean="3x5")),
    Dense(depth=2),
)
TIMETABLE = Timetable(edges=equal_edges(2), grids=(1, 1))
SCHEDULE = DensitySchedule(segments=SEGMENTS, timetable=TIMETABLE)


def inputs_of(model: FlexDiT, *, batch: int = 2, time: float) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)
    noisy = torch.randn(batch, *model.shape.sample_size, generator=generator)
    condition = random_condition(model.shape, batch=batch, generator=generator)
    return {"hidden_states": noisy, "timestep": torch.full((batch,), time), **condition}


@pytest.mark.parametrize("backbone", CONFIGS)
def test_they_run_save_and_cost_what_torch_counts(backbone: str, tmp_path: Path) -> None:
    """In every stage; a module's weights do not depend on its grid."""
    base = backbone_named(backbone, field="backbone").base_class.from_config(CONFIGS[backbone])
    model = randomised(FlexDiT.from_base(base, backbone=backbone, schedule=SCHEDULE)).eval()
    clean, noise = ("6x10" if backbone == "wan" else "8x8", "3x5")
    assert str(model.schedule) == "MRMRDD @5/3x5,2/3x5"
    wide = "5x8" if backbone == "wan" else "5x5"
    low, high = model.graphs()
    frames = f"{model.shape.grid.frames}x" if model.shape.grid.frames > 1 else ""
    assert [str(one.queries) for one in low.route[::2]] == [f"{frames}{grid}" for grid in (wide, noise, clean)]
    assert [one.keys for one in high.route[1:4:2]] == [one.queries for one in high.route[:3:2]]
    condition = {
        name: value
        for name, value in inputs_of(model, batch=1, time=0).items()
        if name not in ("hidden_states", "timestep")
    }
    with torch.inference_mode():
        text = model.read_text(**condition)
    outputs = []
    for graph, time in ((low, 100.0), (high, 900.0)):
        inputs = inputs_of(model, batch=1, time=time)
        found, flops = flops_of(lambda: model(**inputs, graph=graph, text=text))  # noqa: B023 - called at once
        assert flops == 2 * graph.macs(model.shape)
        with torch.inference_mode():
            expected = model(**inputs).sample
            torch.testing.assert_close(found.sample, expected, rtol=1e-4, atol=1e-5)
        outputs.append(expected)
    model.save_pretrained(tmp_path, safe_serialization=True)
    again = FlexDiT.from_pretrained(tmp_path).eval()
    assert again.schedule == SCHEDULE
    with torch.inference_mode():
        for time, expected in zip((100.0, 900.0), outputs, strict=True):
            found = again(**inputs_of(model, batch=1, time=time)).sample
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        other = DensitySchedule(segments=SEGMENTS[::-1], timetable=TIMETABLE)
        again.set_schedule(other)
        assert not torch.allclose(again(**inputs_of(model, batch=1, time=100.0)).sample, outputs[0])
