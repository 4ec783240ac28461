"""The tutorial on small data, done as it says, at the toy size that it documents."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fences import ROOT, command_lines, fences, flexsearch_arguments
from PIL import Image

from flexsearch.config import load_config
from flexsearch.data.loading import load_data
from flexsearch.data.settings import DataSettings
from flexsearch.errors import UserError
from flexsearch.models.flexdit import FlexDiT

PAGE = ROOT / "docs" / "tutorials" / "small_data.md"
FILES = {fence.title: fence for fence in fences(PAGE) if fence.title is not None}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve grey pictures of each of two classes, of different sizes."""
    generator = np.random.default_rng(0)
    for name in ("circles", "squares"):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(12):
            pixels = generator.integers(0, 256, (20 + number, 24), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:04}.png")
    (tmp_path / "small.yaml").write_text(FILES["small.yaml"].text)
    return tmp_path / "pictures"


def test_the_space_of_the_page_is_valid(pictures: Path) -> None:
    space = pictures.parent / "small.yaml"
    assert load_config(space).shape.grid.num_tokens == 256
    toy = [flexsearch_arguments(words) for words in command_lines(FILES["toy.sh"])]
    overrides = [words[2:] for words in toy if words is not None and words[0] == "plan"]
    assert len(overrides) == 1
    config = load_config(space, [word for word in overrides[0] if word != "--set"])
    assert (config.shape.sample_size, config.search.trials) == ((1, 16, 16), 6)


def test_grey_and_coloured_folders(pictures: Path) -> None:
    settings = DataSettings(name="images", root=str(pictures), size=16)
    grey = load_data(settings)
    assert len(grey) == 24
    assert grey.clean(torch.arange(24)).shape == (24, 1, 16, 16)
    assert grey.condition(torch.tensor([0, 11, 12]))["class_labels"].tolist() == [0, 0, 1]
    Image.new("RGB", (16, 16), (255, 0, 0)).save(pictures / "circles" / "red.png")
    coloured = load_data(settings)
    assert coloured.clean(torch.arange(25)).shape == (25, 3, 16, 16)
    assert coloured.clean(torch.tensor([12]))[0, :, 3, 3].tolist() == [1, -1, -1]


def test_bad_folders_are_named(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.root.*must be a folder"):
        load_data(DataSettings(name="images", root=str(tmp_path / "nothing")))
    (pictures / "circles" / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"broken\.png"):
        load_data(DataSettings(name="images", root=str(pictures)))


@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
def test_the_tutorial_at_toy_size(tmp_path: Path) -> None:
    """Its own script, in a shell."""
    (tmp_path / "toy.sh").write_text(FILES["toy.sh"].text)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run(["bash", "-e", "toy.sh"], cwd=tmp_path, env=environment, check=True, timeout=600)
    assert (tmp_path / "front.csv").read_text().count("\n") > 4
    for picture in ("front.png", "samples.png", "trained.png"):
        with Image.open(tmp_path / picture) as image:
            assert image.width > 16
    exported, trained = (FlexDiT.from_pretrained(tmp_path / name / "transformer") for name in ("exported", "trained"))
    assert trained.schedule == exported.schedule
    weights = zip(exported.parameters(), trained.parameters(), strict=True)
    assert any(not torch.equal(before, after) for before, after in weights)
