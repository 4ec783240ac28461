"""A found sampling in the words of diffusers and cache-dit: the same where it says so, and what is left out by name."""

import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.diffusion.solvers import diffusers_scheduler, solver_of
from flexsearch.export.plain_settings import FOLDER, PlainSettings, plain_text, write_plain_settings
from flexsearch.export.recipe import Recipe
from flexsearch.models.loading import load_base
from flexsearch.models.settings import BaseSettings, base_clock, base_shape
from flexsearch.schedule import Cache, Candidate, Dense, DensitySchedule, Pooling, Sampling, Target, lower
from flexsearch.schedule.gain import Gain
from flexsearch.schedule.guidance import GuidanceRows

BASE = BaseSettings(checkpoint="embedded:quickstart")
CPU = torch.device("cpu")


def recipe(sampling: Sampling, schedule: DensitySchedule | None = None) -> Recipe:
    schedule = schedule or DensitySchedule.all_dense(12)
    return Recipe(base=BASE, candidate=Candidate(schedule=schedule, sampling=sampling).to_dict())


def settings(**sampling: Any) -> PlainSettings:
    return PlainSettings.of(recipe(Sampling(**{"steps": 6, **sampling})))


@pytest.mark.parametrize(
    ("solver", "kind", "shift"),
    [
        ("base", "FlowMatchEulerDiscreteScheduler", 1.5),
        ("unipc", "UniPCMultistepScheduler", 1.0),
        ("dpmsolver++", "DPMSolverMultistepScheduler", 1.0),
    ],
)
def test_diffusers_own_scheduler_takes_the_same_steps(solver: Any, kind: str, shift: float, tmp_path: Path) -> None:
    own = recipe(Sampling(steps=6, solver=solver, shift=shift))
    plain = PlainSettings.of(own)
    assert plain.scheduler == kind
    assert plain.is_whole
    assert plain.call == {"num_inference_steps": 6, "guidance_scale": 1.0}
    base = load_base(BASE).scheduler
    plan = lower(own.chosen, Target(shape=base_shape(BASE), clock=base_clock(BASE)))
    write_plain_settings(tmp_path, plain, scheduler=diffusers_scheduler(base, plan))
    assert json.loads((tmp_path / FOLDER / "settings.json").read_text())["scheduler"] == kind

    theirs = getattr(diffusers, kind).from_pretrained(tmp_path / FOLDER)
    ours = solver_of(base, plan, seed=0, device=CPU)
    takes = {"num_inference_steps": 6}
    if kind != "DPMSolverMultistepScheduler":
        takes = {"sigmas": np.linspace(1, 1 / 6, 6)}  # as diffusers' pipelines of flow matching give them
    theirs.set_timesteps(**takes)
    x = y = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for index, timestep in enumerate(theirs.timesteps):
        assert float(timestep) == pytest.approx(float(ours.timestep(index)))
        x = ours.step(torch.sin(3 * x), index, x)
        y = theirs.step(torch.sin(3 * y), timestep, y).prev_sample
    assert torch.equal(x, y)
    text = plain_text(plain)
    assert f'{kind}.from_pretrained("diffusers")' in text
    assert "This is the same sampling" in text


@pytest.mark.parametrize(
    ("checkpoint", "backbone", "call"),
    [
        ("Qwen/Qwen-Image", "qwen_image", {"true_cfg_scale": 4.0, "negative_prompt": ""}),
        ("Tongyi-MAI/Z-Image", "z_image", {"guidance_scale": 3.0}),
        ("stabilityai/stable-diffusion-3.5-medium", "sd3", {"guidance_scale": 4.0}),
    ],
)
def test_guidance_is_said_as_its_pipeline_reads_it(checkpoint: str, backbone: str, call: dict[str, Any]) -> None:
    base = BaseSettings(checkpoint=checkpoint, backbone=backbone)
    schedule = DensitySchedule.all_dense(base_shape(base).num_blocks)
    candidate = Candidate(schedule=schedule, sampling=Sampling(steps=6)).to_dict()
    found = {
        renorm: PlainSettings.of(
            Recipe(base=base, candidate=candidate, sampling=SamplingSettings(guidance=4.0, guidance_renorm=renorm))
        )
        for renorm in (False, True)
    }
    assert found[True].call == {"num_inference_steps": 6, **call}
    does_otherwise = found[backbone != "qwen_image"]
    assert does_otherwise.left_out[-1].startswith(f"guidance_renorm: {str(backbone != 'qwen_image').lower()}")
    assert found[backbone == "qwen_image"].is_whole


def test_cache_dit_is_told_a_static_mask_where_that_is_the_same() -> None:
    plain = settings(cache=Cache(full=0.5, first=2, last=1, order=0))
    pattern = Sampling(steps=6, cache=Cache(full=0.5, first=2, last=1, order=0)).pattern
    assert plain.cache_dit == {
        "Fn_compute_blocks": 2,
        "Bn_compute_blocks": 1,
        "max_warmup_steps": 0,
        "num_inference_steps": 6,
        "steps_computation_mask": [int(letter == "F") for letter in pattern],
        "steps_computation_policy": "static",
    }
    assert plain.is_whole
    text = plain_text(plain)
    assert "cache_dit.DBCacheConfig(Fn_compute_blocks=2, " in text
    assert "cache-dit was not run here." in text


@pytest.mark.parametrize(
    "cache",
    [
        Cache(full=0.5, first=2, order=1),
        Cache(full=0.5, first=2, order=0, nulls=1.0),
        Cache(full=0.5, first=2, order=0, reuse="modules"),
        Cache(full=0.5, first=0, order=0),
    ],
)
def test_what_cache_dit_has_no_rule_for_is_left_out_by_name(cache: Cache) -> None:
    plain = settings(cache=cache)
    assert plain.cache_dit is None
    assert [line.partition(",")[0] for line in plain.left_out] == ["reuse over steps"]
    assert "cache-dit has no such rule" in plain_text(plain)


def test_every_other_axis_is_left_out_by_name() -> None:
    whole = settings(
        solver="ab2", start="mean", guidance=GuidanceRows(start=0.2), gain=Gain(stream=0.9, at=4), cache=Cache()
    )
    assert whole.scheduler is None
    assert [line.split(",")[0].split(":")[0] for line in whole.left_out] == [
        "the solver ab2",
        "the first step",
        "guidance at some steps only",
        "the gain",
    ]
    sparse = DensitySchedule(segments=(Pooling(depth=2), Dense(depth=10)))
    plain = PlainSettings.of(recipe(Sampling(steps=4, cache=Cache(full=0.5, order=0)), sparse))
    assert plain.left_out[0].startswith("the density schedule PPDDDDDDDDDD")
    assert plain.cache_dit is None
    assert plain_text(plain).count("\n- ") == len(plain.left_out) == 2
