"""A tiny autoencoder (stride 2, 4 channels) and text encoder (16 channels) on disk, in diffusers' layout."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

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
