"""`flexsearch sample` of a base whose prompts its own pipeline embeds: two text encoders, a pooled vector."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backbone_suite import randomised
from builders import PACKED, Call
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from PIL import Image
from tiny_checkpoint import save_autoencoder, save_text_encoder
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5EncoderModel

from flexsearch.errors import UserError
from flexsearch.models.architectures import architecture_named
from flexsearch.models.prompt_encoder import load_prompt_encoder

MAX_TOKENS, CLIP_TOKENS = 7, 9


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole FLUX.1-dev checkpoint that draws 32 x 32 pixels."""
    folder = tmp_path_factory.mktemp("flux") / "base"
    save_text_encoder(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer", model_max_length=CLIP_TOKENS)
    torch.manual_seed(3)
    clip = CLIPTextConfig(
        vocab_size=11,
        hidden_size=10,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=CLIP_TOKENS,
        eos_token_id=1,
        pad_token_id=0,
    )
    FluxPipeline(
        transformer=None,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=None,
        text_encoder=CLIPTextModel(clip),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel.from_pretrained(folder / "text_encoder"),
        tokenizer_2=PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer"),
    ).save_pretrained(folder)
    config = {**PACKED, "guidance_embeds": True, "joint_attention_dim": 16}
    randomised(FluxTransformer2DModel.from_config(config)).save_pretrained(folder / "transformer")
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
