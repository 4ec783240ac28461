"""The exported format: whole or not there, the same model when read back, and a card that a hub can read."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from builders import Call
from diffusers import FlowMatchEulerDiscreteScheduler

from flexsearch.diffusion.pipeline import FlexDiTPipeline
from flexsearch.export.card import write_card
from flexsearch.export.example import Example
from flexsearch.export.folder import exported_sampling, move_pieces, with_folded_gain, written
from flexsearch.export.recipe import Recipe, load_recipe
from flexsearch.measurement import Measurement
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import load_base
from flexsearch.models.settings import BaseSettings
from flexsearch.schedule import Cache, Gain, Graph, Sampling


@pytest.fixture
def recipe(recipe_folder: Call) -> Recipe:
    return load_recipe(recipe_folder())


@pytest.fixture
def model(recipe: Recipe) -> FlexDiT:
    found = load_base(recipe.base).model.clone()
    found.set_schedule(recipe.chosen.schedule)
    return found


def write(out: Path, model: FlexDiT, recipe: Recipe) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    with written(out, model=model, scheduler=scheduler, recipe=recipe, card="# a model\n") as folder:
        assert not out.exists()
        folder.rename(out)


def test_what_is_written_is_the_model_and_a_pipeline(model: FlexDiT, recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, model, recipe)
    for where in (out, out / "transformer"):
        again = FlexDiT.from_pretrained(where)
        assert again.schedule.digest == model.schedule.digest
        assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    drawn = FlexDiTPipeline.from_pretrained(out)([3, 7], output_type="np").images
    assert drawn.shape == (2, 16, 16, 1)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_pieces_replace_what_a_dead_process_left(model: FlexDiT, recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "transformer").mkdir(parents=True)
    (out / "transformer" / "half.safetensors").touch()
    (out / "training.csv").write_text("update\n")
    scheduler = FlowMatchEulerDiscreteScheduler()
    with written(out / "final", model=model, scheduler=scheduler, recipe=recipe, card="") as folder:
        move_pieces(folder, out)
    assert not (out / "transformer" / "half.safetensors").exists()
    assert FlexDiT.from_pretrained(out).schedule.digest == model.schedule.digest
    assert (out / "training.csv").exists()


def test_the_card_says_what_it_is_and_under_which_licence(recipe: Recipe) -> None:
    found = Measurement(name="fid", value=12.345, unit="1", spread=0.5, protocol={"images": 500})
    text = write_card(recipe, made="Made by a test.", measured={"after 6 updates": [found], "before": []})
    _, front_matter, body = text.split("---\n", 2)
    values = yaml.safe_load(front_matter)
    assert values["license"] == "other"
    assert values["license_link"] == recipe.base.checkpoint
    assert "base_model" not in values, "a folder of this machine is no name on a hub"
    assert recipe.chosen.digest in body
    assert "| fid | 12.35 ± 0.50 |  | images 500 |" in body
    assert "FlexDiTPipeline" in body
    assert body.count("```") % 2 == 0


def test_the_card_says_how_it_samples_in_words(recipe: Recipe) -> None:
    sampling = {
        "sampler_steps": 6,
        "solver": "ab2",
        "cache": {"full": 0.5, "warmup": 2, "skew": 1, "first": 1},
        "guidance": {"from": 0.1, "to": 0.8, "every": 2},
        "gain": {"stream": 0.9, "at": 2, "skip": 0.8},
    }
    found = replace(recipe, candidate={**recipe.candidate, **sampling}, folded=Gain(stream=0.9, at=2))
    text = write_card(found, made="", measured={})
    for said in (
        "6 steps of Adams-Bashforth of second order (`ab2`).",
        "Pattern of steps `FFpFpp`: F computes all blocks; p computes the first 1 and the last 0 blocks",
        "Guidance at diffusion times 0.1 to 0.8: one full step in 2 computes both of its rows",
        "all tokens times 0.9 before block 2. The weights in this folder carry it.",
        "times 0.8. flexsearch applies it at run time.",
        "diffusers' own pipelines, given this model as `transformer=`, run the schedule in full at every step",
        "without the gain that the weights do not carry",
    ):
        assert said in text
    plain = write_card(recipe, made="", measured={})
    assert "- 2 steps of the base's own scheduler.\n" in plain
    assert not [word for word in ("Pattern of", "Guidance at", "Gain:", "gain") if word in plain]


def test_every_graph_of_the_plan_is_compared(
    model: FlexDiT, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it reuses; a candidate that was not written as it is meant is found."""
    sampling = {"sampler_steps": 4, "cache": {"pattern": "FFpn", "first": 1}, "gain": {"stream": 0.9, "at": 0}}
    found = with_folded_gain(model, replace(recipe, candidate={**recipe.candidate, **sampling}))
    assert found.folded == Gain(stream=0.9, at=0)
    compared: list[Graph] = []
    run = Example.run

    def noted(example: Example, by: FlexDiT) -> tuple[torch.Tensor, ...]:
        compared.append(example.graph)
        return run(example, by)

    monkeypatch.setattr(Example, "run", noted)
    write(tmp_path / "out", model, found)
    assert {("residual" if graph.reuses else None, graph.leaves) for graph in compared} == {
        (None, "residual"),
        ("residual", None),
    }
    assert exported_sampling(tmp_path / "out") == Sampling(steps=4, cache=Cache(pattern="FFpn", first=1))
    assert load_recipe(tmp_path / "out").chosen.sampling.gain == Gain(stream=0.9, at=0)


@pytest.mark.parametrize(
    ("checkpoint", "backbone", "expected"),
    [
        ("facebook/DiT-XL-2-256", "dit", "AutoencoderKL"),
        ("PixArt-alpha/PixArt-XL-2-256x256", "pixart", "PixArtAlphaPipeline"),
        ("maxin-cn/Latte-1", "latte", "LattePipeline"),
    ],
)
def test_the_card_of_a_public_model_names_it(recipe: Recipe, checkpoint: str, backbone: str, expected: str) -> None:
    base = BaseSettings(checkpoint=checkpoint, backbone=backbone)
    segments = [{"family": "dense", "depth": 28}]
    candidate = {"segments": segments, "timetable": {"edges": [0.0, 1.0], "grids": [1]}, "sampler_steps": 50}
    text = write_card(replace(recipe, base=base, candidate=candidate), made="", measured={})
    values = yaml.safe_load(text.split("---\n", 2)[1])
    assert values["base_model"] == checkpoint
    assert values["license"]
    assert expected in text
