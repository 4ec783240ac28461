"""Spaces in which nothing is trained need the base alone, and captions where it reads text."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from backbone_suite import randomised
from builders import PACKED, TEXT, Call, nothing
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, PixArtTransformer2DModel
from tiny_checkpoint import save_flux, save_text_encoder
from transformers import PreTrainedModel

from flexsearch.config import RunConfig, load_config, parse_config
from flexsearch.data.conditions import CaptionConditions, ClassConditions
from flexsearch.data.settings import DataSettings
from flexsearch.errors import UserError
from flexsearch.export import drawable
from flexsearch.export.folder import with_folded_gain, written
from flexsearch.export.processes import Processes
from flexsearch.export.recipe import Recipe
from flexsearch.export.train import train
from flexsearch.models.loading import load_exported
from flexsearch.models.prompt_encoder import PromptEncoder, load_prompt_encoder
from flexsearch.models.settings import BaseSettings
from flexsearch.schedule import Candidate, DensitySchedule, Sampling
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.gain import Gain
from flexsearch.trial import conditions
from flexsearch.trial.context import trial_context
from flexsearch.trial.contract import TrialOrder, TrialResult
from flexsearch.trial.evaluators import drawn_from
from flexsearch.trial.inputs import load_inputs
from flexsearch.trial.life import CHECKPOINT, run_trial
from flexsearch.trial.masks import load_masks
from flexsearch.trial.prepare import Preparation, prepare
from flexsearch.trial.settings import InputSettings
from flexsearch.trial.shared_files import SharedFiles

pytestmark = pytest.mark.usefixtures("own_cache")
ROOT = Path(__file__).parents[2]
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler"}


@pytest.fixture
def free(tiny_config: Call) -> Call:
    """The configuration of a space without sparse segments and without data."""

    def config(**changes: Any) -> dict[str, Any]:
        values = tiny_config(**{"objectives": {"quality": {"reference": "base"}}, **changes})
        values["space"] = {
            "segments": [{"family": "dense", "depth": "rest"}],
            "solver": {"choice": ["base", "ab2"]},
            "cache": {"full": {"choice": [0.5, 1.0]}},
            "sampler_steps": {"choice": [2, 4]},
        }
        if "data" not in changes:
            del values["data"]
        values["objectives"]["latency"] |= {"batch": 2, "repeats": 1}  # nothing here is about time
        return values

    return config


@pytest.mark.parametrize(
    ("distance", "names"),
    [
        ("ssim", {"dssim", "ssim", "psnr"}),
        ("psnr", {"paired_mse", "psnr"}),
        ("paired", {"paired_distance", "psnr"}),
    ],
)
def test_quality_needs_no_data_image_by_image(free: Call, tmp_path: Path, distance: str, names: set[str]) -> None:
    quality = {"distance": distance, "report": ["psnr"], "images": 12}
    run_dir = tmp_path / "run"
    values = free(objectives={"quality": quality})
    del values["objectives"]["quality"]["reference"]
    config = parse_config(values)
    assert config.objectives.names[0] in names
    assert [(one.what, one.found) for one in prepared(config, run_dir)] == [("pairs", False)]
    assert [(one.what, one.found) for one in prepared(config, run_dir)] == [("pairs", True)]
    few, same = (run_one(config, run_dir, Sampling(steps=steps, solver="ab2"), steps) for steps in (2, 20))
    assert set(few.measurements) == {"macs", "latency_ms", *names}
    far, near = (one.measurements[config.objectives.names[0]].value for one in (few, same))
    assert far > 1e-3
    assert 0 < near <= 1e-6, "these are the converged samples"
    protocol = few.measurements[config.objectives.names[0]].protocol
    assert protocol["from"] == "the dense base's converged samples (ab2, 20 steps), from the same noise"
    assert protocol["images"] == 12


def prepared(config: RunConfig, run_dir: Path) -> list[Preparation]:
    config.save(run_dir)
    return prepare(run_dir, config.trial_settings, seed=0, report=nothing)


def run_one(config: RunConfig, run_dir: Path, sampling: Sampling, number: int = 0) -> TrialResult:
    schedule = DensitySchedule.all_dense(config.search_space.num_blocks)
    candidate = Candidate(schedule=schedule, sampling=sampling)
    order = TrialOrder(number=number, candidate=candidate, run_dir=run_dir, seed=0, baseline="not gated")
    return run_trial(order, nothing)


def test_a_trial_needs_the_base_alone(free: Call, tmp_path: Path) -> None:
    config, run_dir = parse_config(free()), tmp_path / "run"
    made = prepared(config, run_dir)
    assert [(one.what, one.found) for one in made] == [("reference", False)]
    assert all(one.seconds > 0 for one in made)
    few = run_one(config, run_dir, Sampling(steps=2))
    assert few.state == "complete"
    assert few.curve == ()
    assert set(few.measurements) == {"macs", "latency_ms", "fid_fashion_cnn"}
    protocol = few.measurements["fid_fashion_cnn"].protocol
    assert protocol["reference_preparation"] == "the dense base's converged samples (ab2, 20 steps)"
    assert protocol["reference_images"] == 20
    again = prepared(config, run_dir)
    assert [(one.what, one.seconds, one.found) for one in again] == [(one.what, one.seconds, True) for one in made]
    context = trial_context(run_dir)
    assert context.inputs.data is None
    assert context.inputs.conditions == ClassConditions(num_classes=10)


def test_the_reference_has_other_noise_than_trials(free: Call, tmp_path: Path) -> None:
    """The converged base's own samples are at no paired distance from it, but at some from the set it is judged by."""
    quality = {"reference": "base", "report": ["paired_distance"]}
    config, run_dir = parse_config(free(objectives={"quality": quality})), tmp_path / "run"
    prepared(config, run_dir)
    itself = run_one(config, run_dir, Sampling(steps=20, solver="ab2"))
    assert itself.measurements["paired_distance"].value <= 1e-6
    assert itself.measurements["fid_fashion_cnn"].value > 0.01


def test_what_is_free_is_never_trained(free: Call, tiny_config: Call) -> None:
    assert parse_config(free(trial={"updates": 9}, warm_start={"updates": 9})).is_free
    assert parse_config(tiny_config(trial={"updates": 0})).is_free
    assert not parse_config(tiny_config()).is_free
    assert not parse_config(tiny_config(trial={"updates": 0}, warm_start={"updates": 9})).is_free


def test_sparse_schedules_without_updates_are_the_base_rerouted(tiny_config: Call, tmp_path: Path) -> None:
    values = tiny_config(trial={"updates": 0})
    del values["data"]
    config, run_dir = parse_config(values), tmp_path / "run"
    assert [one.what for one in prepared(config, run_dir)] == []
    candidate = config.search_space.build(next(iter(config.search_space.choices())))
    order = TrialOrder(number=0, candidate=candidate, run_dir=run_dir, seed=0, baseline="not gated")
    found = run_trial(order, nothing)
    assert (found.state, found.curve, found.reason) == ("complete", (), None)
    assert "fine-tune" not in found.seconds


def test_what_is_trained_needs_data(tiny_config: Call, free: Call) -> None:
    values = tiny_config()
    del values["data"]
    with pytest.raises(UserError, match=r"data\.name: must be a data set, which trials are trained on, but got 'none'"):
        parse_config(values)
    config = parse_config(free(objectives={"quality": {"reference": "data"}}))
    with pytest.raises(UserError, match=r"reference: is the training data, but there are none; nearest legal: base"):
        load_inputs(config.trial_settings)
    with pytest.raises(UserError, match="there is nothing to train on"):
        _ = load_inputs(parse_config(free()).trial_settings).training_data


@pytest.fixture
def text_base(tmp_path: Path) -> Path:
    """A whole PixArt-alpha checkpoint that draws grey images."""
    folder = tmp_path / "base"
    transformer = PixArtTransformer2DModel(**TEXT | {"num_layers": 5, "sample_size": 8, "caption_channels": 16})
    randomised(transformer).save_pretrained(folder / "transformer", safe_serialization=True)
    DPMSolverMultistepScheduler(beta_schedule="linear").save_pretrained(folder / "scheduler")
    save_grey_autoencoder(folder)
    save_text_encoder(folder)
    return folder


def save_grey_autoencoder(folder: Path) -> None:
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
    )
    randomised(vae).save_pretrained(folder / "vae", safe_serialization=True)


def test_a_base_that_reads_text_needs_captions(
    free: Call, text_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {"checkpoint": str(text_base), "backbone": "pixart"}
    with pytest.raises(UserError, match=r"data: is missing: this base reads text.*captions, one a line"):
        load_inputs(parse_config(free(base=base)).trial_settings)
    captions = tmp_path / "captions.txt"
    data = {"name": "captions", "root": str(captions)}
    config = parse_config(free(base=base, data=data, sampling={"guidance": 3.0}))
    with pytest.raises(UserError, match=r"captions\.txt: cannot be read"):
        load_inputs(config.trial_settings)
    captions.write_text("a red cat\n\nthe moon\n")
    found = load_inputs(config.trial_settings).conditions
    assert isinstance(found, CaptionConditions)
    assert len(found.ends) == 2
    prepared(config, tmp_path / "run")
    result = run_one(config, tmp_path / "run", Sampling(steps=2, solver="ab2"))
    assert result.measurements["fid_fashion_cnn"].value > 0

    def fails(*_: object, **__: object) -> None:
        raise AssertionError("embeddings are kept")

    monkeypatch.setattr(conditions, "load_prompt_encoder", fails)
    again = conditions.conditions_of(("a red cat", "the moon"), config.trial_settings, device=torch.device("cpu"))
    assert torch.equal(
        again.of_samples([0, 1, 2])["encoder_hidden_states"][0], again.of_samples([2])["encoder_hidden_states"][0]
    )
    with pytest.raises(AssertionError):
        conditions.conditions_of(("another",), config.trial_settings, device=torch.device("cpu"))


@pytest.mark.parametrize(("backbone", "num"), [("pixart", 1), ("flux", 2)])
def test_text_encoders_are_freed_once_captions_are_embedded(
    free: Call, text_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, num: int
) -> None:
    """By a search and by `flexsearch sample`: before anything is drawn no encoder is there, and none waits for the
    garbage collector."""
    folder, captions = text_base, tmp_path / "captions.txt"
    captions.write_text("a red cat\nthe moon\n")
    if backbone == "flux":
        folder = tmp_path / "flux"
        save_flux(folder)
        save_grey_autoencoder(folder)
    made: list[weakref.ref[PreTrainedModel]] = []

    def noted(*arguments: Any, **options: Any) -> PromptEncoder:
        there = {id(one) for one in encoders()}
        found = load_prompt_encoder(*arguments, **options)
        made.extend(weakref.ref(one) for one in encoders() if id(one) not in there)
        return found

    def encoders() -> list[PreTrainedModel]:
        every = [one for one in gc.get_objects() if issubclass(type(one), PreTrainedModel)]
        inner = {id(part) for one in every for part in one.modules() if part is not one}
        return [one for one in every if id(one) not in inner]

    for module in (conditions, drawable):
        monkeypatch.setattr(module, "load_prompt_encoder", noted)
    gc.collect()
    gc.disable()
    try:
        values = free(
            base={"checkpoint": str(folder), "backbone": backbone},
            data={"name": "captions", "root": str(captions)},
            sampling={"guidance": 3.0},
        )
        assert isinstance(load_inputs(parse_config(values).trial_settings).conditions, CaptionConditions)
        assert [one() for one in made] == [None] * num
        found = drawable.load_model(str(folder))
        assert len(drawable.conditions_of(found, prompts=["a red cat"], classes=()).ends) == 1
        assert [one() for one in made] == [None] * 2 * num
    finally:
        gc.enable()


def test_a_base_with_text_encoders_of_its_own_needs_prompts_alone(free: Call, tmp_path: Path) -> None:
    """FLUX.1-dev: two encoders, embedded guidance, dynamic shift; a step reuses the residual of both streams."""
    folder, captions = tmp_path / "base", tmp_path / "captions.txt"
    save_flux(folder)
    save_grey_autoencoder(folder)
    captions.write_text("a red cat\nthe moon\n")
    config = parse_config(
        free(
            base={"checkpoint": str(folder), "backbone": "flux"},
            data={"name": "captions", "root": str(captions)},
            sampling={"guidance": 3.5},
        )
    )
    assert not config.search_space.target.is_guided
    found = load_inputs(config.trial_settings).conditions.of_samples([0, 1])
    assert set(found) == {"encoder_hidden_states", "pooled_projections"}
    prepared(config, tmp_path / "run")
    result = run_one(config, tmp_path / "run", Sampling(steps=3, solver="ab2", cache=Cache(pattern="FFp")))
    assert result.measurements["fid_fashion_cnn"].value > 0


def test_samples_of_a_base_are_kept_by_all_that_decides_them(tmp_path: Path) -> None:
    """Size, shift, autoencoder, text encoders, and how much of a caption is read: none of them is in its weights."""
    folder, captions = tmp_path / "base", tmp_path / "captions.txt"
    captions.write_text("a red cat\n")
    for part, config in (("transformer", PACKED), ("scheduler", FLOW), ("vae", {}), ("text_encoder", {})):
        (folder / part).mkdir(parents=True)
        (folder / part / "weights.safetensors").write_bytes(b"1")
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        (folder / part / name).write_text(json.dumps(config))
    none = CaptionConditions(rows=torch.zeros(1, 20), ends=torch.tensor([1]), empty=torch.zeros(1, 20))

    def kept_by(**base: Any) -> str:
        settings = InputSettings(
            base=BaseSettings(checkpoint=str(folder), backbone="flux", **base),
            data=DataSettings(name="captions", root=str(captions)),
        )
        return json.dumps(drawn_from(settings, none))

    found = [kept_by(), kept_by(), kept_by(sample_size=8)]
    for file, text in (
        ("vae/weights.safetensors", "2"),
        ("text_encoder/weights.safetensors", "2"),
        ("transformer/config.json", json.dumps({**PACKED, "text_tokens": 6})),
        ("scheduler/scheduler_config.json", json.dumps({**FLOW, "shift": 3.0})),
    ):
        (folder / file).write_text(text)
        found.append(kept_by())
    assert found[0] == found[1]
    assert len(set(found)) == 6


def test_a_base_in_bf16_is_searched_and_exported(free: Call, tmp_path: Path) -> None:
    """Its weights stay in bf16, in the trial's folder and the exported one, which draws what the trial drew; its layers
    fetch theirs."""
    config = parse_config(free(base={"dtype": "bf16", "offload": "leaf_level"}, sampling={"dtype": "bf16"}))
    prepared(config, tmp_path / "run")
    sampling = Sampling(steps=4, solver="ab2", gain=Gain(stream=0.9, at=2))
    candidate = Candidate(schedule=DensitySchedule.all_dense(config.search_space.num_blocks), sampling=sampling)
    result = run_trial(TrialOrder(number=0, candidate=candidate, run_dir=tmp_path / "run", seed=0), nothing)
    assert result.state == "complete"
    protocol = result.measurements["latency_ms"].protocol
    assert (protocol["weights"], protocol["offload"]) == ("bf16", "leaf_level")
    assert load_inputs(config.trial_settings).base.model.is_offloaded
    model = load_exported(tmp_path / "run" / "trials" / "0" / CHECKPOINT)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    own = Recipe(
        base=config.base,
        objectives=config.objectives,
        sampling=config.sampling,
        candidate=candidate.to_dict(),
    )
    recipe, scheduler = with_folded_gain(model, own), load_inputs(config.trial_settings).base.scheduler
    assert recipe.exported.sampling == sampling, "weights that are rounded carry no gain"
    with written(tmp_path / "out", model=model, scheduler=scheduler, recipe=recipe, card="") as folder:
        assert {weight.dtype for weight in load_exported(folder).parameters()} == {torch.bfloat16}
    with pytest.raises(UserError, match=r"^base\.dtype: must be fp32, in which weights are trained"):
        train(recipe, folder=tmp_path, out=tmp_path / "trained", processes=Processes(), report=nothing)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base": {"dtype": "bf16"}}, r"^sampling\.dtype: must be bf16, as base\.dtype, but got fp32"),
        ({"base": {"dtype": "bf16"}, "trial": {"updates": 1}}, None),
    ],
)
def test_weights_in_bf16_are_drawn_from_in_bf16(free: Call, changes: dict[str, Any], said: str | None) -> None:
    values = free(**changes)
    if said is None:
        said = r"^base\.dtype: must be fp32, in which weights are trained"
        values["space"]["segments"] = [{"family": "pooling", "depth": 1}, {"family": "dense", "depth": "rest"}]
        values["data"] = {"name": "quickstart"}
    with pytest.raises(UserError, match=said):
        parse_config(values)


@pytest.mark.parametrize(
    ("changes", "segments", "reason"),
    [
        ({"trial": {"updates": 1}}, [{"family": "pooling", "depth": 1}], "weights are trained on the device"),
        ({"objectives": {"latency": {"compile": True}}}, [], r"objectives\.latency\.compile does not see"),
        (
            {"trial": {"updates": 0}},
            [{"family": "dense", "depth": 2, "width": {"clean_heads": {"choice": [4, 8]}}}],
            "blocks of some width",
        ),
    ],
)
def test_layers_are_offloaded_where_they_are_called_alone(
    free: Call, changes: dict[str, Any], segments: list[Any], reason: str
) -> None:
    values = free(base={"offload": "leaf_level"}, **changes)
    values["space"]["segments"] = [*segments, {"family": "dense", "depth": "rest"}]
    values["data"] = {"name": "quickstart"}
    with pytest.raises(UserError, match=rf"^base\.offload: must be null: {reason}"):
        parse_config(values)


def test_captions_are_for_bases_that_read_text(free: Call, tmp_path: Path) -> None:
    config = parse_config(free(data={"name": "captions", "root": str(tmp_path / "captions.txt")}))
    with pytest.raises(
        UserError, match=r"data\.name: has captions, but the base reads class labels; nearest legal: none"
    ):
        load_inputs(config.trial_settings)


@pytest.mark.parametrize(
    "name",
    [
        "quickstart",
        "dit_xl",
        "pixart_alpha",
        "sd35_medium",
        "flux_dev",
        "qwen_image",
        "z_image",
        "sana",
        "wan",
        "latte",
    ],
)
def test_the_free_spaces_train_nothing(name: str) -> None:
    config = load_config(ROOT / "search_spaces" / f"{name}_free.yaml")
    assert config.is_free
    assert not config.data.can_train
    quality = config.objectives.quality
    assert quality.reference == "base" or quality.distance == "ssim", "against the base's own samples"
    shows_ratios = quality.reference == "base" and quality.extractor != "video"
    assert quality.report == (("precision", "recall") if shows_ratios else ())
    assert config.reference_steps == max(20, 2 * max(config.search_space.steps))


def test_means_are_measured_once_and_serve_the_search(
    free: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flexsearch.trial.data_gaussian.SAMPLES", 32)
    values = free()
    values["space"]["start"] = {"choice": ["model", "mean", "gaussian"]}
    config = parse_config(values)
    first, again = prepared(config, tmp_path), prepared(config, tmp_path)
    assert [one.what for one in first if not one.found][-1] == "data Gaussian"
    assert all(one.found for one in again)
    result = run_one(config, tmp_path, Sampling(steps=3, start="gaussian"))
    assert result.state == "complete"
    assert result.measurements["macs"].value == pytest.approx(
        run_one(config, tmp_path, Sampling(steps=2), 1).measurements["macs"].value
    )
    trial_context.cache_clear()  # as another process finds them
    context = trial_context(tmp_path)
    data = context.inputs.base.model.data_gaussian
    assert data is not None
    assert data.means.abs().sum() > 0
    assert len(data.directions) == 16
    assert (data.variances > 0).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sampler_steps": {"choice": [1, 4]}}, "sampler_steps: must be at least 2 where start is mean"),
        ({"cache": {"pattern": "FFpn"}, "sampler_steps": 4}, "cache.pattern: must have 3 letters, but got 'FFpn'"),
        ({"cache": {"mask": "planned", "full": 0.5}}, "start: may be mean, for which no masks are planned"),
        ({"shift": {"choice": [1.0, 30.0]}}, r"space\.shift: must be at most 20, but got 30\.0; nearest legal: 20"),
    ],
)
def test_a_space_without_a_first_step_is_refused(free: Call, changes: dict[str, Any], said: str) -> None:
    values = free()
    values["space"] |= {"start": {"choice": ["model", "mean"]}, **changes}
    with pytest.raises(UserError, match=said):
        _ = parse_config(values).search_space


def test_a_pattern_is_of_the_steps_that_call_the_model(free: Call) -> None:
    values = free()
    values["space"] |= {"start": "mean", "cache": {"pattern": "FFpn"}, "sampler_steps": 5}
    assert {one.sampling.pattern for one in parse_config(values).search_space.candidates(up_to=10)} == {"mFFpn"}


def test_masks_are_planned_once_and_serve_the_search(free: Call, tmp_path: Path) -> None:
    values = free()
    values["space"]["cache"] = {"full": {"choice": [0.5, 1.0]}, "mask": "planned"}
    values["space"]["sampler_steps"] = {"choice": [2, 6]}
    config = parse_config(values)
    first, again = prepared(config, tmp_path), prepared(config, tmp_path)
    assert [one.what for one in first if not one.found][-1] == "masks"
    assert all(one.found for one in again)
    path = SharedFiles.of(tmp_path, config.trial_settings).masks(config.trial_settings, seed=0)
    masks = load_masks(path)
    assert sorted(masks) == [2, 6]
    assert {num: mask.count("F") for num, mask in masks[6].items()} == {num: num for num in range(1, 7)}
    space = replace(config.search_space, masks=masks)
    found = {
        candidate.sampling.cache.of(6) for candidate in space.candidates(up_to=100) if candidate.sampling.steps == 6
    }
    assert found == {masks[6][3], "FFFFFF"}


def test_a_metric_of_the_users_own_is_the_objective(free: Call, tmp_path: Path) -> None:
    source = "def light(images, labels):\n    assert len(labels) == len(images)\n    return images.float().mean() + 1\n"
    (tmp_path / "own.py").write_text(source)
    quality = {"callable": f"{tmp_path / 'own.py'}:light", "direction": "maximize", "reference": None}
    config, run_dir = parse_config(free(objectives={"quality": quality})), tmp_path / "run"
    assert prepared(config, run_dir) == []
    result = run_one(config, run_dir, Sampling(steps=2))
    assert result.measurements.keys() == {"inverse_light", "light", "latency_ms", "macs"}
    assert result.measurements["inverse_light"].value == 1 / result.measurements["light"].value
    assert {"function", "source", "images", "guidance", "seed"} <= result.measurements["light"].protocol.keys()
    (tmp_path / "own.py").write_text(f"{source}# changed")
    with pytest.raises(UserError, match=r"objectives\.quality\.callable: holds another source"):
        prepared(config, run_dir)
