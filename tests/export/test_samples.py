"""Pictures of samples: who drew what, from which noise and condition, and where it stands in the picture."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image, ImageFont

from flexsearch.errors import UserError
from flexsearch.export import samples
from flexsearch.export.grid_picture import SMALLEST_SIDE_PX, Row, _wrapped, grid_picture
from flexsearch.export.samples import SampleRequest, draw
from flexsearch.models.data_gaussian import DataGaussian
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule import Cache, Gain, Plan, Sampling

Drawn = list[Row]


@pytest.fixture
def base(tiny_model: FlexDiT, tmp_path: Path) -> Path:
    """The dense base of `tiny_model`, on disk."""
    tiny_model.base.save_pretrained(tmp_path / "base" / "transformer", safe_serialization=True)
    FlowMatchEulerDiscreteScheduler().save_pretrained(tmp_path / "base" / "scheduler")
    return tmp_path / "base"


@pytest.fixture
def exported(tiny_model: FlexDiT, base: Path, tmp_path: Path) -> Path:
    """What drawing needs of an exported folder."""
    folder = tmp_path / "out"
    tiny_model.save_pretrained(folder / "transformer", safe_serialization=True)
    FlowMatchEulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    candidate = {**tiny_model.schedule.to_dict(), "sampler_steps": 2}
    (folder / "candidate.json").write_text(json.dumps(candidate))
    recipe = {"base": {"checkpoint": str(base)}, "data": {"name": "quickstart"}, "candidate": candidate}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the last captioned picture was made of."""
    last: dict[str, Any] = {}

    def spy(rows: Drawn, *, columns: list[str]) -> Image.Image:
        last.update(rows=rows, columns=columns)
        return grid_picture(rows, columns=columns)

    monkeypatch.setattr(samples, "grid_picture", spy)
    return last


def plain(name: Path, out: Path, *, num: int, **request: Any) -> np.ndarray:
    """(num, 16, 16) the images of a plain grid of one row."""
    draw(str(name), out, SampleRequest(num=num, **request))
    picture = np.array(Image.open(out).convert("L"))
    return np.stack([picture[1:81:5, 1 + 81 * column : 81 + 81 * column : 5] for column in range(num)])  # enlarged


def test_dense_beside_sparse_shares_noise_steps_and_condition(
    exported: Path, base: Path, drawn: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "beside.png"
    request = SampleRequest(num=5, seeds=(0, 3), classes=(7, 2), beside_dense=True)
    line = draw(str(exported), out, request)
    assert "10 images, each beside the dense base's" in line
    assert "2 steps" in line
    assert drawn["columns"] == ["class 7", "class 2", "class 7", "class 2", "class 7"]
    captions = [row.caption for row in drawn["rows"]]
    assert captions[0] == ("dense", "2 steps", "seed 0")
    pairs = [(name, f"seed {seed}") for seed in (0, 3) for name in ("dense", "model")]
    assert [(lines[0], lines[-1]) for lines in captions] == pairs
    assert captions[1][2].endswith("of MACs")
    assert [row.opens_group for row in drawn["rows"]] == [True, False, True, False]
    for row, (name, seed) in zip(drawn["rows"], [(base, 0), (exported, 0), (base, 3), (exported, 3)], strict=True):
        alone = plain(name, tmp_path / "alone.png", num=5, steps=2, seeds=(seed,), classes=(7, 2))
        assert np.array_equal(row.images[:, 0].numpy(), alone)


def test_the_dense_base_starts_from_the_means_that_the_model_carries(
    tiny_model: FlexDiT, exported: Path, tmp_path: Path
) -> None:
    tiny_model.set_data_gaussian(DataGaussian.of_means(torch.randn(11, 1, 16, 16)))
    tiny_model.save_pretrained(exported / "transformer", safe_serialization=True)
    recipe = yaml.safe_load((exported / "recipe.yaml").read_text())
    recipe["candidate"] |= {"sampler_steps": 3, "start": "mean"}
    (exported / "candidate.json").write_text(json.dumps(recipe["candidate"]))
    (exported / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    line = draw(str(exported), tmp_path / "picture.png", SampleRequest(num=2, beside_dense=True))
    assert "x3 mFF" in line


def test_the_dense_base_samples_as_the_model_does(
    exported: Path, drawn: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Solver and reuse are shared, and the base has the gain at run time that the model's weights carry."""
    sampling = {"sampler_steps": 4, "solver": "ab2", "cache": {"pattern": "FFpn", "first": 1}}
    recipe = yaml.safe_load((exported / "recipe.yaml").read_text())
    candidate = {**recipe["candidate"], **sampling}
    (exported / "candidate.json").write_text(json.dumps(candidate))
    gain = {"stream": 0.9, "at": 1}
    recipe |= {"candidate": {**candidate, "gain": gain}, "folded": gain}
    (exported / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    plans: list[Plan] = []
    generated = samples.generate

    def noted(model: FlexDiT, scheduler: Any, plan: Plan, **options: Any) -> Any:
        plans.append(plan)
        return generated(model, scheduler, plan, **options)

    monkeypatch.setattr(samples, "generate", noted)
    line = draw(str(exported), tmp_path / "picture.png", SampleRequest(num=2, beside_dense=True))
    dense, model = (plan.candidate.sampling for plan in plans)
    assert model == Sampling(steps=4, solver="ab2", cache=Cache(pattern="FFpn", first=1))
    assert dense == replace(model, gain=Gain(stream=0.9, at=1))
    assert f"4 steps of ab2, {model}, seed 0" in line
    assert [row.caption[1] for row in drawn["rows"]] == [str(dense), str(model)]
    with pytest.raises(UserError, match=r"cache\.pattern: must have 3 letters, but got 'FFpn'"):
        draw(str(exported), tmp_path / "picture.png", SampleRequest(num=2, steps=3))


def test_columns_hold_one_condition_where_they_can(exported: Path, drawn: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "picture.png"
    for num, classes, columns in ((12, (1, 2, 3), 9), (20, (), 10), (4, (), 4), (9, (5,), 9)):
        draw(str(exported), out, SampleRequest(num=num, steps=1, classes=classes, beside_dense=True))
        names = [f"class {label}" for label in classes or range(10)]
        assert drawn["columns"] == [names[column % len(names)] for column in range(columns)]
        assert sum(len(row.images) for row in drawn["rows"]) == 2 * num


def test_a_video_has_a_row_of_frames(drawn: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    video = torch.randint(256, (3, 3, 4, 8, 8), generator=generator, dtype=torch.uint8)
    found = {(0, "dense"): video, (0, "model"): 255 - video}
    request = SampleRequest(
        num=3, prompts=("the sea", "a very long caption that does not fit beside a row of frames, or hardly")
    )
    captions = {"dense": ("dense",), "model": ("model",)}
    picture = samples._captioned(found, captions, request, num_classes=0)
    assert [row.caption[0] for row in drawn["rows"]] == ["dense", "model"] * 3
    assert [row.caption[-1] for row in drawn["rows"][::2]] == [*request.prompts, request.prompts[0]]
    assert all(row.images.shape == (10, 3, 8, 8) for row in drawn["rows"])
    assert torch.equal(drawn["rows"][4].images[:4], video[2].transpose(0, 1))
    assert not drawn["rows"][4].images[4:].any(), "it has four frames"
    assert drawn["columns"] == []
    assert picture.width < 200 + 10 * (SMALLEST_SIDE_PX + 2)


def test_every_image_stands_in_the_picture() -> None:
    """Enlarged by a whole factor, unblurred, in reading order, for grey and for coloured images."""
    generator = torch.Generator().manual_seed(0)
    for channels, side in ((1, 16), (3, 80)):
        images = torch.randint(256, (6, channels, side, side), generator=generator, dtype=torch.uint8)
        rows = [Row(caption=("a",), images=images[:3]), Row(caption=("b", "c"), images=images[3:], opens_group=True)]
        factor = -(-SMALLEST_SIDE_PX // side)
        picture = np.array(grid_picture(rows, columns=("x", "a longer one", "z")))
        found = []
        for image in images:
            shown = np.kron(image.expand(3, -1, -1).permute(1, 2, 0).numpy(), np.ones((factor, factor, 1), np.uint8))
            high, wide = shown.shape[:2]
            first = np.argwhere((picture == shown[0, 0]).all(axis=2))
            found += [tuple(at) for at in first if np.array_equal(picture[at[0] :, at[1] :][:high, :wide], shown)]
        assert len(found) == 6
        assert found == sorted(found)


def test_captions_of_columns_fit_them() -> None:
    font = ImageFont.load_default(13)
    for text in ("class 3", "a red cat on the moon, in the style of a very old photograph", "Donaudampfschifffahrt"):
        lines = _wrapped(text, font, 72)
        assert 1 <= len(lines) <= 3
        assert all(font.getlength(line) <= 72 for line in lines)
        assert text.startswith(lines[0].rstrip("…"))


def test_wishes_that_cannot_be_granted(exported: Path, base: Path, tmp_path: Path) -> None:
    out = tmp_path / "picture.png"
    for request, name, message in (
        ({"classes": (3, 10)}, exported, r"--classes: must be in \[0, 9\], but got 10; nearest legal: 9"),
        ({"prompts": ("a shoe",)}, exported, "--prompt: this model reads class labels"),
        ({"beside_dense": True}, base, "--dense: compares an exported model with its base, but .* is a base"),
        ({"steps": 0}, exported, "--steps: must be at least 1, but got 0"),
        ({"seeds": (1, -2)}, exported, r"--seeds: must be in 0 to 2\^63 - 1, but got -2"),
    ):
        with pytest.raises(UserError, match=message):
            draw(str(name), out, SampleRequest(num=2, **request))
    assert not out.exists()
