"""`flexsearch sample` of a base that reads text."""

from pathlib import Path

import numpy as np
import pytest
from backbone_suite import randomised
from builders import TEXT, Call
from diffusers import DPMSolverMultistepScheduler, PixArtTransformer2DModel
from PIL import Image
from tiny_checkpoint import save_autoencoder, save_text_encoder


@pytest.fixture
def text_base(tmp_path: Path) -> Path:
    """A whole PixArt-alpha checkpoint that draws 16 x 16 pixels."""
    folder = tmp_path / "base"
    transformer = PixArtTransformer2DModel(**TEXT | {"num_layers": 5, "sample_size": 8, "caption_channels": 16})
    randomised(transformer).save_pretrained(folder / "transformer", safe_serialization=True)
    DPMSolverMultistepScheduler(beta_schedule="linear").save_pretrained(folder / "scheduler")
    save_autoencoder(folder, seed=1)
    save_text_encoder(folder)
    return folder


def test_prompts_are_drawn_in_turn(flexsearch: Call, text_base: Path, tmp_path: Path) -> None:
    def drawn(*prompts: str) -> np.ndarray:
        out = tmp_path / "samples.png"
        options = [part for prompt in prompts for part in ("--prompt", prompt)]
        outcome = flexsearch("sample", text_base, "--out", out, "--num", 3, "--steps", 2, "--guidance", 3, *options)
        assert outcome.code == 0, outcome.err
        assert "3 images" in outcome.err
        picture = np.array(Image.open(out)).astype(int)
        return np.stack([picture[1:81:5, 1 + 81 * column : 81 + 81 * column : 5] for column in range(3)])  # enlarged

    two, one = drawn("a red cat", "the moon"), drawn("a red cat")
    assert np.array_equal(two[[0, 2]], one[[0, 2]])
    assert not np.array_equal(two[1], one[1])


def test_what_the_base_reads_must_be_given(flexsearch: Call, text_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "samples.png"
    missing = flexsearch("sample", text_base, "--out", out, "--steps", 1)
    assert (missing.code, "--prompt: is missing" in missing.err) == (2, True)
    classes = flexsearch("sample", text_base, "--out", out, "--classes", 3)
    assert (classes.code, "--classes: this model reads text" in classes.err) == (2, True)
