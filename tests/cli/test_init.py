"""`flexsearch init`: a search space for a pipeline of diffusers, from its configuration alone."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from builders import Call

from flexsearch.cli.plan import plan_of
from flexsearch.config import config_schema, load_config, parse_config
from flexsearch.errors import UserError
from flexsearch.first_space import first_space
from flexsearch.models.architectures import known_checkpoints, known_config
from flexsearch.models.pipeline_config import read_pipeline
from flexsearch.paths import resolve_path

DIT, PIXART, LATTE = "facebook/DiT-XL-2-256", "PixArt-alpha/PixArt-XL-2-256x256", "maxin-cn/Latte-1"
UNET = {
    "_class_name": "UNet2DConditionModel",
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": 128,
}
FOLDERS: dict[str, tuple[str, str, Mapping[str, Any], Mapping[str, Any]]] = {
    "DiT": ("DiTPipeline", "transformer", known_config(DIT) or {}, {"_class_name": "DDIMScheduler"}),
    "PixArt-alpha": (
        "PixArtAlphaPipeline",
        "transformer",
        {"_class_name": "PixArtTransformer2DModel", **(known_config(PIXART) or {})},
        {"_class_name": "DPMSolverMultistepScheduler"},
    ),
    "PixArt-Sigma": (
        "PixArtSigmaPipeline",
        "transformer",
        {
            "_class_name": "PixArtTransformer2DModel",
            **(known_config(PIXART) or {}),
            "sample_size": 128,
            "use_additional_conditions": False,
            "interpolation_scale": 2,
        },
        {"_class_name": "DPMSolverMultistepScheduler"},
    ),
    "Latte": (
        "LattePipeline",
        "transformer",
        {"_class_name": "LatteTransformer3DModel", **(known_config(LATTE) or {})},
        {"_class_name": "DDIMScheduler"},
    ),
    "SD3.5": (
        "StableDiffusion3Pipeline",
        "transformer",
        known_config("stabilityai/stable-diffusion-3.5-medium") or {},
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
    ),
    "SDXL": ("StableDiffusionXLPipeline", "unet", UNET, {"_class_name": "EulerDiscreteScheduler"}),
}


def folder_of(name: str, root: Path) -> Path:
    """A pipeline as it is on the hub, without any weights."""
    pipeline, part, config, scheduler = FOLDERS[name]
    files = {
        "model_index.json": {"_class_name": pipeline, part: ["diffusers", config.get("_class_name")]},
        f"{part}/config.json": config,
        "scheduler/scheduler_config.json": scheduler,
    }
    for file, values in files.items():
        path = root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    return root / name


@pytest.mark.parametrize(
    ("name", "quality", "steps", "reads_text"),
    [
        ("DiT", "fid", 50, False),
        ("PixArt-alpha", "fid", 20, True),
        ("PixArt-Sigma", "dssim", 20, True),
        ("Latte", "dssim", 50, True),
    ],
)
def test_a_space_is_written_and_planned_without_weights(
    name: str, quality: str, steps: int, reads_text: bool, tmp_path: Path, flexsearch: Call
) -> None:
    folder, out = folder_of(name, tmp_path), tmp_path / "space.yaml"
    outcome = flexsearch("init", folder, "--out", out)
    assert outcome.code == 0, outcome.err
    pipeline, _, config, _ = FOLDERS[name]
    assert pipeline in outcome.out
    assert "An estimate of all 200 trials" in outcome.out
    assert f"flexsearch plan {out}" in outcome.out
    text = out.read_text()
    assert text.startswith(f"# {folder}: {pipeline} with a ")
    values = yaml.safe_load(text)
    assert list(jsonschema.Draft202012Validator(config_schema()).iter_errors(values)) == []
    assert (tmp_path / "space.json").exists()
    found = load_config(out)
    assert found.objectives.names == (quality, "latency_ms")
    assert found.objectives.quality.report == (("precision", "recall") if quality == "fid" else ())
    assert max(found.search_space.steps) == steps
    assert (found.data.name == "captions") is reads_text
    assert found.is_free
    planned = plan_of(found)
    assert planned["backbone"] == found.base.backbone
    assert planned["dense"]["steps"] == steps
    assert planned["macs_ratio_range"][0] < 0.5
    assert planned["dense"]["tokens"] == (config["sample_size"] // 2) ** 2 * config.get("video_length", 1)
    assert f"{planned['dense']['params'] / 1e6:,.0f} M parameters" in text
    again = flexsearch("init", folder, "--out", out)
    assert (again.code, "exists already" in again.err) == (2, True)


@pytest.mark.parametrize(("name", "num_blocks", "needs_data"), [("DiT", 28, True), ("SD3.5", 24, False)])
def test_what_is_written_in_comments_is_a_space_too(
    name: str, num_blocks: int, needs_data: bool, tmp_path: Path
) -> None:
    """The trained schedules, in place of what the comment says; SD3.5's own samples teach."""
    text = first_space(read_pipeline(str(folder_of(name, tmp_path))))
    lines = [line.removeprefix("# ") for line in text.partition("# these in place")[2].splitlines()[1:]]
    inside = [line for line in lines if line.startswith("  ")]
    outside = [line for line in lines if line and not line.startswith("  ")]
    trained = yaml.safe_load("\n".join(["space:", *inside, *outside]))
    values = yaml.safe_load(text)
    assert values["base"].pop("dtype") == "bf16"
    values["space"] |= trained.pop("space")
    values |= trained
    path = tmp_path / "trained.yaml"
    path.write_text(yaml.safe_dump(values))
    found = load_config(path)
    assert not found.is_free
    assert found.needs_data is needs_data
    assert found.search_space.num_blocks == num_blocks


def test_an_unknown_model_is_named_with_the_nearest_that_is_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"SDXL: UNet2DConditionModel is not supported; .*; nearest legal: \w+Transf"):
        read_pipeline(str(folder_of("SDXL", tmp_path)))
    folder = folder_of("PixArt-Sigma", tmp_path)
    config = json.loads((folder / "transformer/config.json").read_text())
    (folder / "transformer/config.json").write_text(json.dumps({**config, "_class_name": "HunyuanDiT2DModel"}))
    with pytest.raises(UserError, match=r"nearest legal: PixArtTransformer2DModel, as PixArt-alpha/\S+ is$"):
        read_pipeline(str(folder))


def test_a_folder_that_is_damaged_or_no_pipeline_is_one_line(tmp_path: Path) -> None:
    folder = folder_of("DiT", tmp_path)
    (folder / "transformer" / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"transformer/config\.json: cannot be read"):
        read_pipeline(str(folder))
    (folder / "transformer" / "config.json").write_text('{"_class_name": "DiTTransformer2DModel", "sample_size": 32}')
    with pytest.raises(UserError, match=r"is no configuration of a transformer|is missing"):
        first_space(read_pipeline(str(folder)))
    (folder / "transformer" / "config.json").rename(folder / "config.json")
    with pytest.raises(UserError, match="holds a model and no pipeline"):
        read_pipeline(str(folder))
    with pytest.raises(UserError, match="is not there"):
        read_pipeline(str(tmp_path / "nowhere"))
    folder = folder_of("PixArt-alpha", tmp_path)
    (folder / "model_index.json").write_text(json.dumps({"transformer_2": ["diffusers", "X"]}))
    with pytest.raises(UserError, match="has two transformers"):
        read_pipeline(str(folder))
    (folder / "transformer" / "config.json").write_text(json.dumps({"_class_name": "FlexDiT"}))
    (folder / "model_index.json").unlink()
    with pytest.raises(UserError, match=r"is an exported schedule, not a dense base; .*recipe\.yaml$"):
        read_pipeline(str(folder))


def test_a_name_on_the_hub_needs_no_network_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    assert 'checkpoint: "PixArt-alpha/PixArt-XL-2-256x256"' in first_space(read_pipeline(PIXART))
    with pytest.raises(UserError, match=r"someone/model: is no folder here, .*\(no network here\)$"):
        read_pipeline("someone/model")


@pytest.mark.parametrize("checkpoint", known_checkpoints())
def test_every_published_checkpoint_has_a_first_space(checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written, which checks it, and planned: an architecture needs nothing for that."""
    import huggingface_hub

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    values = yaml.safe_load(first_space(read_pipeline(checkpoint)))
    assert values["base"]["checkpoint"] == checkpoint
    has_one_row = any(name in checkpoint for name in ("FLUX.1", "Turbo"))  # embedded, or distilled
    assert ("guidance" in values["space"]) is not has_one_row
    planned = plan_of(parse_config(values))
    assert planned["dense"]["steps"] == max(values["space"]["sampler_steps"]["choice"])
    assert planned["macs_ratio_range"][0] < 0.5
    assert planned["macs_ratio_range"][1] <= 1


def test_a_model_in_the_hubs_cache_is_planned_by_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = folder_of("PixArt-alpha", tmp_path / "models--someone--model" / "snapshots")
    snapshot = snapshot.rename(snapshot.with_name("main"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot))
    out = tmp_path / "space.yaml"
    out.write_text(first_space(read_pipeline("someone/model")))
    assert load_config(out).search_space.num_blocks == 28


def test_the_prompts_are_200_and_all_are_different() -> None:
    prompts = resolve_path("embedded:prompts.txt").read_text().splitlines()
    assert len(prompts) == len(set(prompts)) == 200
    assert all(prompt == prompt.strip() and 15 < len(prompt) < 80 for prompt in prompts)
