"""The text encoder of PixArt and Latte: T5 (Raffel et al. 2020, arXiv 1910.10683), through transformers.

Captions are prepared as PixArt-alpha does without its cleaning of web text: lower case, no space around them, at most
120 tokens. Letters: D channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flexsearch.device_memory import FittingRows
from flexsearch.models.pretrained import import_transformers, load_network, load_part, weights_digest

MAX_TOKENS = 120
"""What PixArt-alpha and Latte were trained with; longer captions are cut."""


@dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """A text encoder in eval mode.

    Attributes:
        embed: from captions to one (tokens, D) float32 embedding each, on the CPU, without padding.
        max_tokens: the most tokens of a caption, its end included.
        digest: identifies configuration, weights as loaded, and tokens.
    """

    embed: Callable[[Sequence[str]], list[Tensor]]
    max_tokens: int
    digest: str


def load_text_encoder(
    checkpoint: str,
    *,
    revision: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    max_tokens: int = MAX_TOKENS,
) -> TextEncoder:
    """Load `CHECKPOINT/tokenizer` and `CHECKPOINT/text_encoder`; safetensors only.

    Args:
        checkpoint: a folder in diffusers' layout, or the name of a model on the Hugging Face hub.
        revision: of the model on the hub.
        device: where it runs.
        dtype: of its weights and what passes through them. Weights are cast while they are loaded.
        max_tokens: longer captions are cut.

    Raises:
        UserError: transformers is not installed, or the checkpoint has no text encoder that can be read.
    """
    transformers = import_transformers("captions need a text encoder", "sentencepiece")
    advice = "captions need a checkpoint with tokenizer/ and a T5 text_encoder/ in safetensors"
    model = load_network(
        transformers.T5EncoderModel, checkpoint, "text_encoder", revision=revision, advice=advice, dtype=dtype
    )
    tokenizer = load_part(transformers.AutoTokenizer, checkpoint, "tokenizer", revision=revision, advice=advice)
    architecture = {key: value for key, value in model.config.to_diff_dict().items() if key != "transformers_version"}
    config = {"model": architecture, "max_tokens": max_tokens, "vocabulary": tokenizer.get_vocab()}
    digest = weights_digest(model.state_dict(), config=config)
    model = model.to(device).eval()

    fitting = FittingRows("embedding captions")

    def embed(captions: Sequence[str]) -> list[Tensor]:
        return [row for part in fitting(lambda rows: embedded(captions[rows]), len(captions)) for row in part]

    @torch.inference_mode()
    def embedded(captions: Sequence[str]) -> list[Tensor]:
        tokens = tokenizer(
            [caption.lower().strip() for caption in captions],
            max_length=max_tokens,
            truncation=True,
            padding="longest",
            return_tensors="pt",
        )
        states = model(tokens.input_ids.to(device), attention_mask=tokens.attention_mask.to(device)).last_hidden_state
        return [row[mask.bool()] for row, mask in zip(states.float().cpu(), tokens.attention_mask, strict=True)]

    return TextEncoder(embed=embed, max_tokens=max_tokens, digest=digest)
