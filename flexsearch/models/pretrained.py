"""Pretrained networks through diffusers and transformers: from safetensors only, and whole or refused."""

import hashlib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.measurement import canonical_json
from flexsearch.paths import resolve_path


def load_part(kind: Any, checkpoint: str, part: str, *, revision: str | None, advice: str, **options: Any) -> Any:
    """Load `CHECKPOINT/part` by `kind.from_pretrained`.

    Args:
        kind: a class of diffusers or transformers.
        checkpoint: a folder in diffusers' layout, or the name of a model on the Hugging Face hub.
        part: the folder below it.
        revision: of the model on the hub.
        advice: ends the error: what the checkpoint must have.
        options: for `from_pretrained`.

    Raises:
        UserError: there is none that can be read.
    """
    local = resolve_path(checkpoint)
    source, hub = (str(local), {}) if local.is_dir() else (checkpoint, {"revision": revision} if revision else {})
    try:
        return kind.from_pretrained(source, subfolder=part, **hub, **options)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"could not be loaded ({reason}); {advice}", field=f"{checkpoint}/{part}") from None


def load_network(kind: Any, checkpoint: str, part: str, **options: Any) -> Any:
    """Load a network as `load_part` does, from safetensors and with all of its weights."""
    network, found = load_part(kind, checkpoint, part, use_safetensors=True, output_loading_info=True, **options)
    check_all_loaded(found["missing_keys"], field=f"{checkpoint}/{part}")
    return network


def check_all_loaded(missing: Iterable[str], *, field: str) -> None:
    """Raise UserError where a checkpoint lacks weights: libraries put random ones in their place."""
    names = sorted(missing)
    if names:
        raise UserError(f"lacks {len(names)} weights of its architecture (first {names[0]})", field=field)


def weights_digest(weights: Mapping[str, Tensor], *, config: Mapping[str, Any]) -> str:
    """Hash a configuration (JSON values) and all weights by name: a SHA-256 in 64 hexadecimal digits."""
    content = hashlib.sha256(canonical_json(config).encode())
    for name, weight in sorted(weights.items()):
        content.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        content.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def import_transformers(needed_by: str, *others: str) -> Any:
    """Import transformers, an optional dependency, and make it quiet.

    Args:
        needed_by: begins the error, such as "captions need a text encoder".
        others: further modules of the same extra.

    Raises:
        UserError: one of them is not installed.
    """
    try:
        transformers: Any = importlib.import_module("transformers")
        for name in others:
            importlib.import_module(name)
    except ImportError as error:
        raise UserError(f'{needed_by}, and {error.name} is not installed; pip install "flexsearch[text]"') from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
