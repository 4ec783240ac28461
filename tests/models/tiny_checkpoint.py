"""A tiny autoencoder (stride 2, 4 channels), text encoder (16 channels) and FLUX.1-dev on disk, as diffusers has
them."""

from pathlib import Path

import torch
from builders import PACKED
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

WORDS = ("<pad>", "</s>", "<unk>", "a", "red", "blue", "cat", "dog", "on", "the", "moon")


def save_autoencoder(folder: Path, *, seed: int) -> None:
    torch.manual_seed(seed)
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        shift_factor=0.1,
    ).save_pretrained(folder / "vae", safe_serialization=True)


def save_text_encoder(folder: Path) -> None:
    torch.manual_seed(2)
    config = T5Config(d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2, vocab_size=len(WORDS))
    T5EncoderModel(config).save_pretrained(folder / "text_encoder", safe_serialization=True)
    save_tokenizer(folder)


def save_tokenizer(folder: Path) -> int:
    """Saves a tokenizer of whole words, and gives how many it knows."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder / "tokenizer")
    return len(WORDS)


def clip_of(folder: Path) -> tuple[PreTrainedTokenizerFast, CLIPTextConfig]:
    """The saved tokenizer, for prompts of 9 tokens, and the configuration of a CLIP of 10 channels that reads it."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer", model_max_length=9)
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=10,
        projection_dim=10,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=9,
        eos_token_id=1,
        pad_token_id=0,
    )
    return tokenizer, config


def save_sd3_without_t5(folder: Path, transformer: SD3Transformer2DModel) -> None:
    """All but the autoencoder: two CLIPs of 10 channels."""
    save_tokenizer(folder)
    tokenizer, config = clip_of(folder)
    torch.manual_seed(3)
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=None,
        text_encoder=CLIPTextModelWithProjection(config),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(config),
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    ).save_pretrained(folder)


def save_flux(folder: Path, *, seed: int = 3) -> None:
    """All but the autoencoder: latents of 4 x 16 x 16, prompts of 7 tokens, a pooled vector of 10 channels."""
    save_text_encoder(folder)
    tokenizer, clip = clip_of(folder)
    torch.manual_seed(seed)
    FluxPipeline(
        transformer=None,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=None,
        text_encoder=CLIPTextModel(clip),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel.from_pretrained(folder / "text_encoder"),
        tokenizer_2=PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer"),
    ).save_pretrained(folder)
    transformer = FluxTransformer2DModel.from_config({**PACKED, "guidance_embeds": True, "joint_attention_dim": 16})
    with torch.no_grad():
        for weight in transformer.parameters():
            weight.normal_(std=0.1)
    transformer.save_pretrained(folder / "transformer", safe_serialization=True)
