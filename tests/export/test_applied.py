"""A found schedule in a pipeline of the user's, and out of it."""

import copy
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from builders import LATENT, ONE_SEQUENCE, WAN, Call
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    PyramidAttentionBroadcastConfig,
    WanPipeline,
    WanTransformer3DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
    apply_pyramid_attention_broadcast,
)
from diffusers.models.attention_dispatch import attention_backend
from diffusers.models.attention_processor import SlicedAttnProcessor
from torch import Tensor

import flexsearch
from flexsearch.errors import Note, UserError
from flexsearch.export.folder import FINGERPRINT
from flexsearch.export.recipe import load_recipe
from flexsearch.models.fingerprint import Fingerprint
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.fold import fold_gain
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.gain import NO_GAIN, Gain
from flexsearch.schedule.guidance import GuidanceRows
from flexsearch.schedule.sampling import Sampling

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


def hold(exported: Path, schedule: DensitySchedule, sampling: Sampling) -> None:
    candidate = Candidate(schedule=schedule, sampling=sampling)
    (exported / "candidate.json").write_text(json.dumps(candidate.to_dict()), encoding="utf-8")


@pytest.mark.parametrize(
    ("named", "sampling"),
    [
        ("reuse over steps, FnFn", Sampling(steps=4, cache=Cache(pattern="FnFn"))),
        ("the solver ab2", Sampling(steps=4, solver="ab2")),
        ("the first step", Sampling(steps=4, start="mean")),
        ("guidance at some steps", Sampling(steps=4, guidance=GuidanceRows(start=0.2, end=0.8))),
        ("the gain", Sampling(steps=4, gain=Gain(stream=1.1, at=2))),
    ],
)
def test_what_a_pipeline_cannot_do_is_refused(
    pipeline: Any, exported: Path, sparse_schedule: DensitySchedule, named: str, sampling: Sampling
) -> None:
    dense = pipeline.transformer
    hold(exported, sparse_schedule, sampling)
    with pytest.raises(UserError, match=rf"holds more than a density schedule.*{named}.*`flexsearch sample "):
        flexsearch.apply(pipeline, exported)
    with pytest.raises(UserError, match=named):
        flexsearch.apply(pipeline, exported / "transformer")
    (exported / "model_index.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=rf"{named}.*`FlexDiTPipeline\.from_pretrained\("):
        flexsearch.apply(pipeline, exported)
    assert pipeline.transformer is dense


def test_what_the_user_sets_is_said(pipeline: Any, exported: Path, sparse_schedule: DensitySchedule) -> None:
    hold(exported, sparse_schedule, Sampling(steps=4))
    with pytest.warns(Note, match=r"found with 4 steps: pipeline\(\.\.\., num_inference_steps=4\)$"):
        flexsearch.apply(pipeline, exported)
    flexsearch.remove(pipeline)
    hold(exported, sparse_schedule, Sampling(steps=4, solver="unipc"))
    with pytest.warns(Note, match=r"4 steps, solver unipc, shift 1: .* and the scheduler in .*diffusers"):
        flexsearch.apply(pipeline, exported)
    flexsearch.remove(pipeline)
    (exported / "candidate.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Note)
        flexsearch.apply(pipeline, exported)


@pytest.fixture
def base(pipeline: Any) -> Any:
    """What the pipeline's transformer is a copy of."""
    found = DiTTransformer2DModel.from_config(pipeline.transformer.config)
    found.load_state_dict(pipeline.transformer.state_dict())
    return found


def exported_of(folder: Path, base: Any, model: FlexDiT) -> Path:
    """As `flexsearch export` writes the model, made from the base."""
    model.save_pretrained(folder / "transformer", safe_serialization=True)
    Fingerprint.of(base, exported=model.base).save(folder / FINGERPRINT)
    return folder


def scaled(base: Any, factor: float) -> Any:
    """As after a fine-tune of the pipeline's user."""
    with torch.no_grad():
        for weight in base.parameters():
            weight.mul_(factor)
    return base


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_where_nothing_was_trained_the_weights_are_the_pipelines_own(
    pipeline: Any, base: Any, exported: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    """Fine-tuned ones too, which is said; roles bring what the folder has."""
    model = FlexDiT.from_pretrained(exported)
    with torch.no_grad():
        for weight in model.merges.parameters():
            weight.add_(0.1)
    folder = exported_of(tmp_path / "free", base, model)
    pipeline.transformer.to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Note)
        applied = flexsearch.apply(pipeline, folder).transformer
    assert all(
        torch.equal(one, two.to(dtype)) for one, two in zip(applied.parameters(), model.parameters(), strict=True)
    )
    before = {name: value.clone() for name, value in flexsearch.remove(pipeline).transformer.state_dict().items()}
    dense = scaled(pipeline.transformer, 1.01)
    with pytest.warns(Note, match=r"were made for other weights than the pipeline's, which are kept \(first "):
        flexsearch.apply(pipeline, folder)
    applied, own = pipeline.transformer, dense.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in applied.base.state_dict().items())
    assert any(not torch.equal(value, own[name]) for name, value in before.items())
    assert applied.schedule == model.schedule
    for one, two in zip(applied.merges.parameters(), model.merges.parameters(), strict=True):
        assert torch.equal(one, two.to(dtype))
    scaled(applied.base, 2)
    assert flexsearch.remove(pipeline).transformer is dense
    assert all(torch.equal(value, own[name]) for name, value in dense.state_dict().items()), "they are a copy"


def test_gain_that_weights_carry_is_put_into_the_pipelines_own(
    pipeline: Any, base: Any, exported: Path, recipe_folder: Call, tmp_path: Path
) -> None:
    model, gain = FlexDiT.from_pretrained(exported), Gain(stream=0.8, at=2, skip=1.1)
    fingerprint = Fingerprint.of(base, exported=model.base)
    assert fold_gain(model, Sampling(steps=4, gain=gain)) == NO_GAIN
    folder = exported_of(tmp_path / "folded", base, model)
    fingerprint.save(folder / FINGERPRINT)
    recipe = replace(load_recipe(recipe_folder()), folded=gain)
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    applied = flexsearch.apply(pipeline, folder).transformer
    for (name, one), two in zip(model.state_dict().items(), applied.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


def test_trained_weights_go_into_a_pipeline_of_what_they_were_trained_from(
    pipeline: Any, base: Any, exported: Path, tmp_path: Path
) -> None:
    """Others are refused, and the user says which to take."""
    model = FlexDiT.from_pretrained(exported)
    scaled(model.base, 1.1)
    folder = exported_of(tmp_path / "trained", base, model)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        pipeline.transformer = copy.deepcopy(base).to(dtype)
        applied = flexsearch.apply(pipeline, folder).transformer
        flexsearch.remove(pipeline)
        for one, two in zip(applied.parameters(), model.parameters(), strict=True):
            assert torch.equal(one, two.to(dtype))
    dense = pipeline.transformer = scaled(copy.deepcopy(base), 0.99)
    named = (
        r"^pipeline\.transformer: has other weights than .* \(first .*\): weights=\"exported\" .* weights=\"pipeline\" "
    )
    with pytest.raises(UserError, match=named):
        flexsearch.apply(pipeline, folder)
    assert pipeline.transformer is dense
    with pytest.raises(UserError, match=r'^weights: must be "pipeline", "exported" or None, but got \'mine\''):
        flexsearch.apply(pipeline, folder, weights="mine")  # type: ignore[arg-type]
    for weights, of_base in (("exported", model.base), ("pipeline", dense)):
        applied = flexsearch.apply(pipeline, folder, weights=weights).transformer
        flexsearch.remove(pipeline)
        assert all(
            torch.equal(one, two)
            for one, two in zip(applied.base.state_dict().values(), of_base.state_dict().values(), strict=True)
        )


def test_a_folder_without_a_fingerprint_says_that_it_replaces_other_weights(pipeline: Any, exported: Path) -> None:
    """Folders of earlier versions."""
    dense = scaled(pipeline.transformer, 1.01)
    with pytest.warns(Note, match=r"which differ \(first .*weights=\"pipeline\" keeps"):
        flexsearch.apply(pipeline, exported)
    flexsearch.remove(pipeline)
    applied = flexsearch.apply(pipeline, exported, weights="pipeline").transformer
    assert all(torch.equal(value, dense.state_dict()[name]) for name, value in applied.base.state_dict().items())


@pytest.mark.parametrize(
    ("name", "value"), [("num_embeds_ada_norm", 500), ("norm_eps", 1e-3), ("sample_size", 4), ("attention_bias", False)]
)
def test_every_field_of_the_configuration_counts(pipeline: Any, exported: Path, name: str, value: Any) -> None:
    pipeline.transformer = DiTTransformer2DModel(**{**CONFIG, name: value})
    with pytest.raises(UserError, match=rf"^pipeline\.transformer\.config\.{name}: must be .* but got {value}$"):
        flexsearch.apply(pipeline, exported)


def with_lora(transformer: Any) -> None:
    peft = pytest.importorskip("peft")
    peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False), transformer)


def with_fp8(transformer: Any) -> None:
    transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)


def with_broadcast(transformer: Any) -> None:
    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500
    )
    apply_pyramid_attention_broadcast(transformer, config)


@pytest.mark.parametrize(
    ("hang", "named"),
    [
        (with_lora, r"\.to_q: has an adapter of peft \(Linear\)"),
        (with_fp8, r": has a hook \(layerwise_casting\)"),
        (with_broadcast, r"\.attn1: has a hook \(pyramid_attention_broadcast\)"),
        (
            lambda one: accelerate.cpu_offload_with_hook(one, torch.device("cpu")),
            r": has a hook \(CpuOffload of accelerate\)",
        ),
        (
            lambda one: one.transformer_blocks[2].attn1.set_processor(SlicedAttnProcessor(1)),
            r"\.attn1: has the processor SlicedAttnProcessor",
        ),
        (lambda one: one.compile(backend="eager"), r": has a compiled forward"),
    ],
)
def test_what_hangs_on_the_transformer_is_refused(
    pipeline: Any, exported: Path, hang: Callable[[Any], Any], named: str
) -> None:
    hang(pipeline.transformer)
    with pytest.raises(UserError, match=rf"^pipeline\.transformer.*{named}.*, which apply would drop"):
        flexsearch.apply(pipeline, exported)
    assert isinstance(pipeline.transformer, DiTTransformer2DModel)


def saved(base: Any, backbone: str, folder: Path) -> Path:
    same = type(base).from_config(base.config)
    same.load_state_dict(base.state_dict())
    FlexDiT.from_base(same, backbone=backbone).save_pretrained(folder / "transformer", safe_serialization=True)
    return folder


def test_two_transformers_and_an_attention_backend_are_refused(tmp_path: Path) -> None:
    base = WanTransformer3DModel.from_config(WAN)
    nothing = {"tokenizer": None, "text_encoder": None, "vae": None, "scheduler": FlowMatchEulerDiscreteScheduler()}
    exported = saved(base, "wan", tmp_path)
    with pytest.raises(UserError, match=r"^pipeline\.transformer_2: must be None"):
        flexsearch.apply(WanPipeline(**nothing, transformer=base, transformer_2=base, boundary_ratio=0.9), exported)
    pipeline = WanPipeline(**nothing, transformer=base)
    flexsearch.remove(flexsearch.apply(pipeline, exported))
    with attention_backend("native"):  # what diffusers sets for all models of a process is as before at its end
        base.set_attention_backend("_native_math")
    with pytest.raises(UserError, match=r"blocks\.0\.attn1: has the attention backend .*, which apply would drop"):
        flexsearch.apply(pipeline, exported)


def test_a_lora_is_loaded_after_apply(tmp_path: Path) -> None:
    """What each of the pipeline's methods does to the output is tested with diffusers' features."""
    pytest.importorskip("peft")
    base = WanTransformer3DModel.from_config(WAN)
    nothing = {"tokenizer": None, "text_encoder": None, "vae": None, "scheduler": FlowMatchEulerDiscreteScheduler()}
    pipeline = WanPipeline(**nothing, transformer=base)
    flexsearch.apply(pipeline, saved(base, "wan", tmp_path))
    name = "transformer.blocks.1.attn1.to_q.lora_{}.weight".format
    lora = {name("A"): torch.ones(2, 24), name("B"): torch.ones(24, 2)}
    pipeline.load_lora_weights(lora, adapter_name="mine")
    assert pipeline.get_list_adapters() == {"transformer": ["mine"]}
    assert type(pipeline.transformer.base.blocks[1].attn1.to_q).__module__.startswith("peft")
    pipeline.unload_lora_weights()
    assert type(pipeline.transformer.base.blocks[1].attn1.to_q) is torch.nn.Linear
    assert flexsearch.remove(pipeline).transformer is base


def test_a_pipeline_that_calls_by_position_is_refused(tmp_path: Path) -> None:
    base = ZImageTransformer2DModel.from_config(ONE_SEQUENCE)
    nothing = {"tokenizer": None, "text_encoder": None, "vae": None, "scheduler": FlowMatchEulerDiscreteScheduler()}
    with pytest.raises(UserError, match=r"^pipeline: ZImagePipeline gives its transformer lists by position"):
        flexsearch.apply(ZImagePipeline(**nothing, transformer=base), saved(base, "z_image", tmp_path))
