"""From prompts to what a model reads of them: by its T5, or by the text encoders of diffusers' own pipeline of it.

Letters: L tokens of a prompt, D channels of their embedding, P channels of a pooled one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import diffusers
import torch
from torch import Tensor, nn

from flexsearch.errors import reading
from flexsearch.models.architectures import Architecture
from flexsearch.models.backbones import backbone_named
from flexsearch.models.backbones.backbone import Backbone
from flexsearch.models.pretrained import import_transformers, weights_digest
from flexsearch.models.text_encoder import load_text_encoder
from flexsearch.paths import resolve_path

_OF_LOADING = ("transformers_version", "dtype")
"""Of a configuration, what says nothing of the model."""


class EmbeddedPrompt(NamedTuple):
    """A prompt: (L, D) tokens without padding and, where the model reads one, a pooled vector (P,); both on the CPU."""

    tokens: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class PromptEncoder:
    """Text encoders in eval mode.

    Attributes:
        embed: from prompts to their embeddings, float32.
        digest: gives what identifies configurations, weights as loaded, and tokens; it reads all weights.
    """

    embed: Callable[[Sequence[str]], list[EmbeddedPrompt]]
    digest: Callable[[], str]


def load_prompt_encoder(
    architecture: Architecture,
    checkpoint: str,
    *,
    max_tokens: int,
    revision: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> PromptEncoder:
    """Load the text encoders of a checkpoint, and nothing else of it.

    Args:
        architecture: of its model.
        checkpoint: a folder in diffusers' layout, or the name of a model on the Hugging Face hub.
        max_tokens: longer prompts are cut.
        revision: of the model on the hub.
        device: where they run.
        dtype: of their weights and what passes through them; None is float32 of a T5 and on the CPU, else bfloat16.

    Raises:
        UserError: transformers is not installed, or the checkpoint has none that can be read.
    """
    if not architecture.has_own_encoders:
        t5 = load_text_encoder(
            checkpoint, revision=revision, device=device, max_tokens=max_tokens, dtype=dtype or torch.float32
        )
        return PromptEncoder(
            embed=lambda prompts: [EmbeddedPrompt(row) for row in t5.embed(prompts)], digest=lambda: t5.digest
        )
    import_transformers("prompts need text encoders")
    adapter = backbone_named(architecture.name, field="backbone")
    pipeline = _pipeline(architecture, adapter, checkpoint, revision)
    pipeline.to(device, dtype or (torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16))

    @torch.inference_mode()
    def embed(prompts: Sequence[str]) -> list[EmbeddedPrompt]:
        found: list[EmbeddedPrompt] = []
        for prompt in prompts:
            tokens, pooled = adapter.embedded(pipeline, prompt, max_tokens=max_tokens)
            found.append(EmbeddedPrompt(tokens.float().cpu(), None if pooled is None else pooled.float().cpu()))
        return found

    return PromptEncoder(embed=embed, digest=lambda: _digest(pipeline, max_tokens=max_tokens))


def _digest(pipeline: Any, *, max_tokens: int) -> str:
    """Identify the encoders and tokenizers of a pipeline, by the names of its parts."""
    facts: dict[str, Any] = {"pipeline": type(pipeline).__name__, "max_tokens": max_tokens}
    weights: dict[str, Tensor] = {}
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            network: Any = part
            facts[name] = {key: value for key, value in network.config.to_diff_dict().items() if key not in _OF_LOADING}
            weights |= {f"{name}.{key}": value for key, value in part.state_dict().items()}
        elif hasattr(part, "get_vocab"):
            facts[name] = part.get_vocab()
    return weights_digest(weights, config=facts)


def _pipeline(architecture: Architecture, adapter: type[Backbone], checkpoint: str, revision: str | None) -> Any:
    """Load a pipeline's encoders. Its transformer is a configuration alone: SD3 without its T5 puts as many channels of
    zeros in its place."""
    assert architecture.pipeline is not None, "it has encoders"
    local = resolve_path(checkpoint)
    source = str(local) if local.is_dir() else checkpoint
    hub: dict[str, Any] = {"revision": revision} if revision and not local.is_dir() else {}
    advice = f"prompts need a whole checkpoint of {architecture.pipeline}, with its tokenizers and text encoders"
    with reading(checkpoint, rule="could not be loaded", advice=advice), _without_progress_bar():
        made_by = getattr(diffusers, architecture.pipeline)
        index = made_by.load_config(source, **hub)
        left_out = [name for name, part in index.items() if isinstance(part, list | tuple) and part[0] is None]
        parts = dict.fromkeys([*left_out, "transformer", "vae"])  # diffusers asks to be told of what is not there
        pipeline = made_by.from_pretrained(source, use_safetensors=True, **parts, **hub)
        config = adapter.base_class.load_config(source, subfolder="transformer", **hub)
        pipeline.transformer = SimpleNamespace(config=SimpleNamespace(**config))
    return pipeline


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    was_shown = diffusers.utils.logging.is_progress_bar_enabled()
    diffusers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            diffusers.utils.logging.enable_progress_bar()
