"""A found schedule in a pipeline of the user's, and out of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from builders import LATENT
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from torch import Tensor

import flexsearch
from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.density import DensitySchedule

CONFIG = {**LATENT, "num_layers": 6, "sample_size": 8, "num_embeds_ada_norm": 1000}


@pytest.fixture
def pipeline() -> Any:
    vae = AutoencoderKL(latent_channels=4, block_out_channels=(8,), norm_num_groups=4)
    transformer = DiTTransformer2DModel(**CONFIG)
    for weight in transformer.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    made = DiTPipeline(transformer=transformer.eval(), vae=vae.eval(), scheduler=DDIMScheduler())
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def exported(pipeline: Any, tmp_path: Path, sparse_schedule: DensitySchedule) -> Path:
    base = DiTTransformer2DModel.from_config(pipeline.transformer.config)
    base.load_state_dict(pipeline.transformer.state_dict())
    schedule = {**sparse_schedule.to_dict()}
    schedule["timetable"] = {**schedule["timetable"], "grids": [3, 2]}
    model = FlexDiT.from_base(base, schedule=DensitySchedule.from_dict(schedule))
    model.save_pretrained(tmp_path / "exported" / "transformer", safe_serialization=True)
    return tmp_path / "exported"


def images(pipeline: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.from_numpy(pipeline([1], num_inference_steps=2, generator=generator, output_type="np").images)


def test_a_schedule_is_applied_and_removed(pipeline: Any, exported: Path) -> None:
    dense, before = pipeline.transformer, images(pipeline)
    assert flexsearch.apply(pipeline, exported) is pipeline
    assert pipeline.transformer.schedule.to_dict()["timetable"]["grids"] == [3, 2]
    found = images(pipeline)
    assert not torch.allclose(found, before)
    given = DiTPipeline(transformer=FlexDiT.from_pretrained(exported), vae=pipeline.vae, scheduler=DDIMScheduler())
    given.set_progress_bar_config(disable=True)
    assert torch.equal(images(given), found)
    with pytest.raises(UserError, match=r"^pipeline: has a schedule already"):
        flexsearch.apply(pipeline, exported)
    assert flexsearch.remove(pipeline).transformer is dense
    assert torch.equal(images(pipeline), before)
    with pytest.raises(UserError, match=r"^pipeline: has no schedule"):
        flexsearch.remove(pipeline)


def test_the_model_takes_the_pipelines_dtype(pipeline: Any, exported: Path) -> None:
    pipeline.transformer.to(torch.bfloat16)
    assert flexsearch.apply(pipeline, exported).transformer.dtype == torch.bfloat16


def test_a_pipeline_of_another_base_is_refused(pipeline: Any, exported: Path) -> None:
    pipeline.transformer = DiTTransformer2DModel(**{**CONFIG, "num_layers": 2})
    with pytest.raises(UserError, match=r"^pipeline\.transformer\.config\.num_layers: must be 6"):
        flexsearch.apply(pipeline, exported)
    pipeline.transformer = torch.nn.Linear(1, 1)
    with pytest.raises(UserError, match=r"^pipeline: must have a DiTTransformer2DModel .* but got Linear"):
        flexsearch.apply(pipeline, exported)
