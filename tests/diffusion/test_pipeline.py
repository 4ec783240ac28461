"""The diffusers pipeline: the images of flexsearch's own sampling loop, in diffusers' conventions."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import LATENT, TEXT, VIDEO
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    LattePipeline,
    LatteTransformer3DModel,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
)

from flexsearch.data.conditions import ClassConditions
from flexsearch.diffusion.pipeline import FlexDiTPipeline, write_pipeline
from flexsearch.diffusion.sampling import generate, initial_noise, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.families.pooling import Pooling
from flexsearch.schedule.families.sdtm import Sdtm
from flexsearch.schedule.gain import Gain
from flexsearch.schedule.guidance import GuidanceRows
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.timetable import Timetable

NO_SEARCH_PARTS = '''
import sys

MISSING = {
    "accelerate", "matplotlib", "moocore", "onnx", "onnxruntime", "optuna", "optuna_dashboard", "pandas", "peft",
    "plotly", "pydantic", "ray", "rich", "scipy", "sqlalchemy", "torch_fidelity", "torchvision", "transformers",
    "typer",
}

class Without:
    """A finder that finds all but these."""

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in MISSING else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import numpy as np
import torch
from flexsearch.diffusion.pipeline import FlexDiTPipeline

pipeline = FlexDiTPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
generators = [torch.Generator().manual_seed(index) for index in range(3)]
np.save(sys.argv[2], pipeline([0, 1, 2], 2.0, generator=generators, output_type="np").images)
assert not MISSING & set(sys.modules), MISSING & set(sys.modules)
'''

SMALL = {"num_layers": 4, "sample_size": 8}
SPARSE = DensitySchedule(segments=(Pooling(depth=1), Sdtm(sparse=1, dense=0)), timetable=Timetable(grids=(3,)))

THREE_STEPS = Sampling(steps=3)


def exported(model: FlexDiT, scheduler: Any, folder: Path, *, sampling: Sampling = THREE_STEPS) -> Path:
    model.save_pretrained(folder / "transformer", safe_serialization=True)
    scheduler.save_pretrained(folder / "scheduler")
    write_pipeline(folder, sampling=sampling)
    return folder


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_vae() -> AutoencoderKL:
    return AutoencoderKL(latent_channels=4, block_out_channels=(8,), norm_num_groups=4, shift_factor=0.1).eval()


def generators(num: int, *, seed: int) -> list[torch.Generator]:
    """Those of `generate`'s first images."""
    return [torch.Generator().manual_seed(seed * 1_000_003 + index) for index in range(num)]


@pytest.mark.parametrize("scheduler", [FlowMatchEulerDiscreteScheduler(), DDPMScheduler()])
def test_its_images_equal_generates_to_the_bit(tiny_model: FlexDiT, scheduler: Any) -> None:
    pipeline = quiet(FlexDiTPipeline(tiny_model, scheduler))
    labels, conditions = [0, 1, 2, 3], ClassConditions(num_classes=10)
    for guidance in (1.0, 3.0):
        settings = SamplingSettings(guidance=guidance)
        (expected,) = generate(
            tiny_model,
            scheduler,
            plan_of(tiny_model, scheduler, Sampling(steps=5), settings),
            conditions=conditions,
            num_images=4,
            batch=4,
            seed=7,
            settings=settings,
        )
        drawn = pipeline(labels, guidance, 5, generators(4, seed=7), output_type="latent").images
        assert torch.equal(drawn, expected)
    given = pipeline(labels, 3.0, 5, latents=initial_noise(range(4), shape=(1, 16, 16), seed=7), output_type="latent")
    assert torch.equal(given.images, expected) or isinstance(scheduler, DDPMScheduler)


EVERY_AXIS = Sampling(
    steps=6,
    solver="ab2",
    cache=Cache(full=0.5, warmup=2, skew=1, nulls=0.5, first=1, last=1),
    guidance=GuidanceRows(start=0.1, end=0.9, every=2),
    gain=Gain(stream=0.9, at=2, skip=0.8),
)


@pytest.mark.parametrize("reuse", ["span", "modules"])
@pytest.mark.parametrize("steps", [6, 9])
def test_every_axis_of_sampling_is_drawn_as_generate_does(
    tiny_model: FlexDiT, tmp_path: Path, reuse: Any, steps: int
) -> None:
    scheduler, settings = FlowMatchEulerDiscreteScheduler(), SamplingSettings(guidance=3.0)
    sampling = replace(EVERY_AXIS, cache=replace(EVERY_AXIS.cache, reuse=reuse))
    plan = plan_of(tiny_model, scheduler, replace(sampling, steps=steps), settings)
    assert {step.letter for step in plan.steps} == set("Fpn")
    assert {step.graph.rows for step in plan.steps} == {1, 2}
    (expected,) = generate(
        tiny_model,
        scheduler,
        plan,
        conditions=ClassConditions(num_classes=10),
        num_images=4,
        batch=4,
        seed=7,
        settings=settings,
    )
    folder = exported(tiny_model, scheduler, tmp_path / "out", sampling=sampling)
    for where in (folder, tmp_path / "again"):
        pipeline = quiet(FlexDiTPipeline.from_pretrained(where))
        assert pipeline.sampling == sampling
        asked = None if steps == 6 else steps
        drawn = pipeline(range(4), 3.0, asked, generators(4, seed=7), output_type="latent").images
        assert torch.equal(drawn, expected)
        pipeline.save_pretrained(tmp_path / "again")


def test_a_pattern_that_is_given_fits_one_number_of_steps(tiny_model: FlexDiT) -> None:
    sampling = Sampling(steps=6, cache=Cache(pattern="FFpFpp", first=1)).to_dict()
    pipeline = quiet(FlexDiTPipeline(tiny_model, FlowMatchEulerDiscreteScheduler(), sampling=sampling))
    assert len(pipeline([1], num_inference_steps=6).images) == 1
    with pytest.raises(UserError, match=r"cache\.pattern: must have 4 letters, but got 'FFpFpp'"):
        pipeline([1], num_inference_steps=4)


def test_conventions_of_diffusers(tiny_model: FlexDiT) -> None:
    """Every output type shows the same images; a seeded generator draws them again; steps have a default."""
    pipeline = quiet(FlexDiTPipeline(tiny_model, FlowMatchEulerDiscreteScheduler(), sampling={"sampler_steps": 2}))

    def drawn(**options: Any) -> Any:
        return pipeline([1, 5], generator=torch.Generator().manual_seed(0), **options)

    latent = drawn(output_type="latent").images
    tensor, array, pictures = (drawn(output_type=kind).images for kind in ("pt", "np", "pil"))
    assert torch.equal(tensor, (latent / 2 + 0.5).clamp(0, 1))
    assert np.array_equal(array, tensor.permute(0, 2, 3, 1).numpy())
    expected = ((latent.clamp(-1, 1) + 1) * 127.5).round()[:, 0].numpy()
    assert np.abs(np.stack([np.array(picture) for picture in pictures]) - expected).max() <= 1
    assert torch.equal(drawn(num_inference_steps=2, output_type="pt", return_dict=False)[0], tensor)
    assert not torch.equal(drawn(num_inference_steps=3, output_type="pt").images, tensor)
    assert torch.equal(
        pipeline(5, latents=torch.ones(1, 1, 16, 16), output_type="pt").images,
        pipeline([5], latents=torch.ones(1, 1, 16, 16), output_type="pt").images,
    )
    (latent.requires_grad_() * 2).sum().backward()
    assert latent.grad is not None


def test_an_exported_folder_is_a_pipeline(tiny_model: FlexDiT, tmp_path: Path) -> None:
    folder = exported(tiny_model, FlowMatchEulerDiscreteScheduler(shift=2.0), tmp_path / "out")
    images = []
    for where in (folder, tmp_path / "again"):
        pipeline = quiet(FlexDiTPipeline.from_pretrained(where))
        assert pipeline.scheduler.config.shift == 2.0
        assert pipeline.config.sampling == {"sampler_steps": 3}
        images.append(pipeline([2, 3], generator=generators(2, seed=1), output_type="pt").images)
        pipeline.save_pretrained(tmp_path / "again")
    assert torch.equal(*images)


def test_the_model_loads_from_the_folder_and_from_inside_it(tiny_model: FlexDiT, tmp_path: Path) -> None:
    folder = exported(tiny_model, FlowMatchEulerDiscreteScheduler(), tmp_path / "out")
    for model in (
        FlexDiT.from_pretrained(folder),
        FlexDiT.from_pretrained(str(folder)),
        FlexDiT.from_pretrained(folder / "transformer"),
        FlexDiT.from_pretrained(folder, subfolder="transformer"),
        FlexDiT.from_pretrained(folder, output_loading_info=True)[0],
    ):
        assert model.schedule == tiny_model.schedule
        for name, weight in tiny_model.state_dict().items():
            assert torch.equal(model.state_dict()[name], weight)
    with pytest.raises(OSError, match=r"config\.json"):
        FlexDiT.from_pretrained(tmp_path)


def test_it_runs_without_what_searches(tiny_model: FlexDiT, tmp_path: Path) -> None:
    """An import hook stands for an environment in which none of it is installed."""
    folder = exported(tiny_model, FlowMatchEulerDiscreteScheduler(), tmp_path / "out")
    drawn = tmp_path / "drawn.npy"
    subprocess.run([sys.executable, "-c", NO_SEARCH_PARTS, str(folder), str(drawn)], check=True)
    own = [torch.Generator().manual_seed(index) for index in range(3)]
    expected = quiet(FlexDiTPipeline.from_pretrained(folder))([0, 1, 2], 2.0, generator=own, output_type="np").images
    np.testing.assert_allclose(np.load(drawn), expected, rtol=0, atol=1e-5)


def test_latents_are_decoded_as_diffusers_own_pipeline_does(tmp_path: Path) -> None:
    base = DiTTransformer2DModel(**LATENT | SMALL, num_embeds_ada_norm=1000).eval()
    folder = exported(FlexDiT.from_base(base), DDIMScheduler(), tmp_path / "out")
    vae = tiny_vae()
    vae.register_to_config(shift_factor=0.0)  # diffusers' pipeline does not read it
    DiTPipeline(transformer=base, vae=vae, scheduler=DDIMScheduler()).save_pretrained(tmp_path / "published")
    own = quiet(DiTPipeline.from_pretrained(tmp_path / "published", transformer=FlexDiT.from_pretrained(folder)))
    assert isinstance(own.transformer, FlexDiT)
    ours = quiet(FlexDiTPipeline.from_pretrained(folder, vae=vae))
    expected, found = (
        pipeline([3, 9], 4.0, generator=torch.Generator().manual_seed(0), num_inference_steps=3, output_type="pt")
        for pipeline in (own, ours)
    )
    torch.testing.assert_close(found.images, expected.images, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="vae: is missing: this model draws latents"):
        FlexDiTPipeline.from_pretrained(folder)([3])


def test_a_text_model_runs_in_the_pipeline_of_its_base(tmp_path: Path) -> None:
    torch.manual_seed(0)
    bases = {
        "pixart": (PixArtTransformer2DModel(**TEXT | SMALL), PixArtAlphaPipeline, DPMSolverMultistepScheduler()),
        "latte": (LatteTransformer3DModel(**VIDEO | SMALL), LattePipeline, DDIMScheduler()),
    }
    text = {
        "prompt_embeds": torch.randn(1, 9, 20),
        "negative_prompt_embeds": torch.randn(1, 9, 20),
        "negative_prompt": None,
        "num_inference_steps": 2,
        "height": 8,
        "width": 8,
    }
    masks = {f"{kind}_attention_mask": torch.ones(1, 9, dtype=torch.int64) for kind in ("prompt", "negative_prompt")}
    own = {
        "pixart": {**masks, "output_type": "np", "use_resolution_binning": False},
        "latte": {"video_length": 4, "output_type": "latent", "clean_caption": False},
    }
    for backbone, (base, pipeline_class, scheduler) in bases.items():
        model = FlexDiT.from_base(base.eval(), backbone=backbone, schedule=SPARSE)
        folder = exported(model, scheduler, tmp_path / backbone)
        assert not (folder / "model_index.json").exists()
        pipeline = quiet(
            pipeline_class(
                tokenizer=None,
                text_encoder=None,
                vae=tiny_vae(),
                transformer=FlexDiT.from_pretrained(folder),
                scheduler=scheduler,
            )
        )
        drawn = pipeline(generator=torch.Generator().manual_seed(0), **text, **own[backbone])[0]
        assert torch.as_tensor(np.asarray(drawn)).isfinite().all()
        with pytest.raises(UserError, match="transformer: reads text"):
            FlexDiTPipeline(model, scheduler)


def test_arguments_are_checked(tiny_model: FlexDiT) -> None:
    pipeline = quiet(FlexDiTPipeline(tiny_model, FlowMatchEulerDiscreteScheduler()))
    for options, message in (
        ({"class_labels": [0, 11]}, r"class_labels: must be whole numbers in \[0, 10\], but got 11"),
        ({"class_labels": -1}, r"class_labels: must be whole numbers in \[0, 10\], but got -1"),
        ({"class_labels": ["shirt"]}, r"class_labels: must be whole numbers in \[0, 10\], but got 'shirt'"),
        ({"class_labels": 0, "num_inference_steps": 0}, "must be at least 1, but got 0"),
        ({"class_labels": 0, "output_type": "jpg"}, "output_type: must be one of"),
    ):
        with pytest.raises(UserError, match=message):
            pipeline(**options)


def test_several_images_of_a_label_are_drawn_beside_each_other(tiny_model: FlexDiT) -> None:
    pipeline = quiet(FlexDiTPipeline(tiny_model, FlowMatchEulerDiscreteScheduler()))
    several = pipeline([3, 7], 2.0, 2, generators(4, seed=1), num_images_per_prompt=2, output_type="latent").images
    expected = pipeline([3, 3, 7, 7], 2.0, 2, generators(4, seed=1), output_type="latent").images
    assert torch.equal(several, expected)


def test_a_callback_looks_at_every_step_and_changes_none(tiny_model: FlexDiT) -> None:
    pipeline, seen = quiet(FlexDiTPipeline(tiny_model, FlowMatchEulerDiscreteScheduler())), []

    def look(given: Any, index: int, timestep: float, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append((given is pipeline, index, round(timestep), tensors["latents"].clone()))
        return tensors

    options = {"num_inference_steps": 4, "output_type": "latent"}
    drawn = pipeline([1], generator=generators(1, seed=0), callback_on_step_end=look, **options).images
    assert [one[:3] for one in seen] == [(True, 0, 1000), (True, 1, 750), (True, 2, 500), (True, 3, 250)]
    assert torch.equal(seen[-1][3], drawn)
    assert torch.equal(pipeline([1], generator=generators(1, seed=0), **options).images, drawn)
    with pytest.raises(UserError, match=r"^callback_on_step_end: must leave the latents"):
        pipeline([1], callback_on_step_end=lambda *given: {"latents": given[-1]["latents"] * 2}, **options)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"eta": 0.5}, r"^eta: must be 0"),
        ({"callback_on_step_end_tensor_inputs": ["prompt_embeds"]}, r"^callback_on_step_end_tensor_inputs: must be"),
    ],
)
def test_options_of_other_pipelines_are_refused_by_name(tiny_model: FlexDiT, option: Any, message: str) -> None:
    pipeline = quiet(FlexDiTPipeline(tiny_model, FlowMatchEulerDiscreteScheduler()))
    with pytest.raises(UserError, match=message):
        pipeline([1], **option)


def test_it_guides_the_channels_and_spaces_the_steps_of_its_search(tmp_path: Path) -> None:
    """DiT's original code guides 3 channels, diffusers' pipeline 4: an exported folder says which."""
    model = FlexDiT.from_base(DiTTransformer2DModel(**{**LATENT, **SMALL, "num_embeds_ada_norm": 10})).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    scheduler, found = FlowMatchEulerDiscreteScheduler(), {}
    settings = {
        "three": SamplingSettings(guidance=3.0, guidance_channels=3),
        "all": SamplingSettings(guidance=3.0),
        "scheduler": SamplingSettings(guidance=3.0, spacing="scheduler"),
    }
    for name, one in settings.items():
        folder = exported(model, scheduler, tmp_path / name)
        write_pipeline(folder, sampling=THREE_STEPS, settings=one)
        pipeline = quiet(FlexDiTPipeline.from_pretrained(folder))
        options = {"generator": generators(2, seed=0), "output_type": "latent"}
        found[name] = pipeline([0, 1], 3.0, **options).images
        plan = plan_of(model, scheduler, THREE_STEPS, one)
        conditions = ClassConditions(num_classes=10)
        (expected,) = generate(
            model, scheduler, plan, conditions=conditions, num_images=2, batch=2, seed=0, settings=one
        )
        assert torch.equal(found[name], expected)
    assert not torch.equal(found["three"], found["all"])
    assert not torch.equal(found["scheduler"], found["all"])
    with pytest.raises(UserError, match=r"^sampling\.guidance_channels: must be at most 4"):
        quiet(FlexDiTPipeline(model, scheduler, guidance_channels=5))([0], 3.0, output_type="latent")
