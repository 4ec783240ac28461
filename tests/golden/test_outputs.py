"""Outputs and samples of a tiny model per backbone: all-dense, the paper's schedule, two sparse ones, every stage.

Weights and inputs are exact (`api.exact`) and models run in float64 throughout, for other machines sum in another
order. A sum of K terms is off by at most K * 2^-53 of the sum of their sizes. A token goes through 6 blocks (12 for
video), each 9 sums of at most 120 terms deep: some 1e4 * 2^-53, 1.4e-12 of the norm, times how far normalisations and
attention stretch a difference, for which 1e2 is left. What is not rounding is far larger: computing anything in float32
changes 6e-8.
"""

from typing import Any

import api
import pytest
import torch
from safetensors.torch import load_file

ROWS: list[dict[str, Any]] = api.read_json("outputs.json")
TENSORS = load_file(api.HERE / "outputs.safetensors")
TOLERANCE = 1e2 * 12 * 9 * 120 * 2**-53  # of the root mean square, 1.4e-10


def name_of(row: dict[str, Any]) -> str:
    what = f"stage {row['stage']}" if row["kind"] == "output" else f"guidance {row['guidance']}"
    return f"{row['backbone']}, {row['name']}, {what}"


def rows(kind: str) -> Any:
    found = [row for row in ROWS if row["kind"] == kind]
    return pytest.mark.parametrize("row", found, ids=[name_of(row) for row in found])


def check(found: torch.Tensor, row: dict[str, Any], *, tolerance: float) -> None:
    """Every `stride`-th value, and the norm of all."""
    stored = TENSORS[row["tensor"]]
    assert list(found.shape) == row["shape"]
    assert found.dtype == stored.dtype
    scale = row["norm"] / found.numel() ** 0.5
    torch.testing.assert_close(found.flatten()[:: row["stride"]], stored, rtol=0, atol=tolerance * scale)
    assert float(found.double().norm()) == pytest.approx(row["norm"], rel=tolerance)


@rows("output")
def test_outputs(row: dict[str, Any]) -> None:
    model = api.golden_model(row["backbone"], row["config"], row["schedule"])
    given = api.condition(row["backbone"], row["config"], batch=row["batch"])
    check(api.model_output(model, given, row["times"]), row, tolerance=TOLERANCE)


@rows("sample")
def test_samples(row: dict[str, Any]) -> None:
    """The loop keeps samples in float32: a step rounds about 8 times, and the steps together stretch a difference by
    at most the ratio of the signal's shares at the end and at the beginning."""
    backbone, config, batch = row["backbone"], row["config"], row["batch"]
    model = api.golden_model(backbone, config, row["schedule"])
    drawn = api.draw(
        model,
        given=api.condition(backbone, config, batch=batch),
        none=api.no_condition(backbone, config, batch=batch),
        batch=batch,
        sampler_steps=row["sampler_steps"],
        guidance=row["guidance"],
        guidance_channels=row["guidance_channels"],
    )
    scheduler = api.ddim()
    scheduler.set_timesteps(row["sampler_steps"])
    stretch = float(scheduler.alphas_cumprod[scheduler.timesteps[0]]) ** -0.5
    check(drawn, row, tolerance=row["sampler_steps"] * 8 * stretch * 2**-24)
