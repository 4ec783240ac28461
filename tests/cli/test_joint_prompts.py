"""`flexsearch sample` of a base whose prompts its own pipeline embeds: two text encoders, a pooled vector."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import MMDIT, Call
from diffusers import FluxPipeline, SD3Transformer2DModel, StableDiffusion3Pipeline
from PIL import Image
from tiny_checkpoint import save_autoencoder, save_flux, save_sd3_without_t5

from flexsearch.errors import UserError
from flexsearch.models.architectures import architecture_named
from flexsearch.models.prompt_encoder import load_prompt_encoder

MAX_TOKENS = 7


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole FLUX.1-dev checkpoint that draws 32 x 32 pixels."""
    folder = tmp_path_factory.mktemp("flux") / "base"
    save_flux(folder)
    save_autoencoder(folder, seed=1)
    return folder


def test_prompts_are_embedded_as_the_pipeline_does(flux: Path) -> None:
    pipeline: Any = FluxPipeline.from_pretrained(flux, transformer=None, vae=None)
    encoder = load_prompt_encoder(architecture_named("flux", field="backbone"), str(flux), max_tokens=MAX_TOKENS)
    for prompt, found in zip(("a red cat", ""), encoder.embed(["a red cat", ""]), strict=True):
        with torch.inference_mode():
            tokens, pooled, _ = pipeline.encode_prompt(prompt, prompt, max_sequence_length=MAX_TOKENS)
        assert found.pooled is not None
        assert torch.equal(found.tokens, tokens[0])
        assert torch.equal(found.pooled, pooled[0])


def test_a_checkpoint_without_encoders_is_named(flux: Path, tmp_path: Path) -> None:
    (tmp_path / "transformer").symlink_to(flux / "transformer")
    with pytest.raises(UserError, match=r"FluxPipeline, with its tokenizers"):
        load_prompt_encoder(architecture_named("flux", field="backbone"), str(tmp_path), max_tokens=MAX_TOKENS)


def test_prompts_are_drawn_in_turn(flexsearch: Call, flux: Path, tmp_path: Path) -> None:
    out = tmp_path / "samples.png"
    prompts = ("--prompt", "a red cat", "--prompt", "the moon")
    outcome = flexsearch("sample", flux, "--out", out, "--num", 3, "--steps", 2, "--guidance", 3.5, *prompts)
    assert outcome.code == 0, outcome.err
    assert "3 images" in outcome.err
    assert np.array(Image.open(out)).std() > 0


def test_sd3_without_its_t5_reads_zeros_in_place(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As many of its users load it; what it reads is what its pipeline gives, and nothing of loading is printed."""
    transformer = SD3Transformer2DModel.from_config({**MMDIT, "joint_attention_dim": 24, "pooled_projection_dim": 20})
    save_sd3_without_t5(tmp_path, transformer)
    capfd.readouterr()
    encoder = load_prompt_encoder(architecture_named("sd3", field="backbone"), str(tmp_path), max_tokens=12)
    assert capfd.readouterr() == ("", "")
    pipeline: Any = StableDiffusion3Pipeline.from_pretrained(tmp_path, vae=None, text_encoder_3=None, tokenizer_3=None)
    with torch.inference_mode():
        tokens, _, pooled, _ = pipeline.encode_prompt(
            "a red cat", None, None, do_classifier_free_guidance=False, max_sequence_length=3
        )
    (found,) = encoder.embed(["a red cat"])
    assert found.tokens.shape == (12, 24)
    assert found.pooled is not None
    assert torch.equal(found.tokens, tokens[0])
    assert torch.equal(found.pooled, pooled[0])
