"""Pretrained networks through diffusers and transformers: from safetensors only, and whole or refused."""

import hashlib
import importlib
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from flexsearch.errors import Note, UserError, reading
from flexsearch.measurement import canonical_json
from flexsearch.paths import resolve_path

_NO_WEIGHTS = "width_order."
"""Of a FlexDiT, what holds places and not weights."""
_FLOATS = ("F64", "F32", "F16", "BF16")


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
    with reading(f"{checkpoint}/{part}", rule="could not be loaded", advice=advice):
        return kind.from_pretrained(source, subfolder=part, **hub, **options)


def load_network(kind: Any, checkpoint: str, part: str, **options: Any) -> Any:
    """Load a network as `load_part` does, from safetensors and with all of its weights."""
    network, found = load_part(kind, checkpoint, part, use_safetensors=True, output_loading_info=True, **options)
    check_all_loaded(found["missing_keys"], field=f"{checkpoint}/{part}")
    with reading(f"{checkpoint}/{part}"):
        check_finite(network.state_dict())
    return network


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Raise UserError where weights hold numbers that are not finite: whatever is computed of them has no value."""
    for name, weight in weights.items():
        if weight.is_floating_point() and not torch.isfinite(weight.float()).all():
            raise UserError(f"holds weights that are not finite (first {name})")


def check_stored_types(folder: Path) -> None:
    """Look into the headers of safetensors files: weights in whole numbers are quantised, and mean nothing without
    their scales, which libraries do not ask for. Note weights of 8 bits that are floats.

    Raises:
        UserError: some are whole numbers; names the file and the first.
    """
    for path in sorted(folder.glob("*.safetensors")):
        with reading(path), safetensors.safe_open(path, framework="pt") as file:
            types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping
        small = [name for name, kind in types.items() if kind.startswith("F8")]
        weights = {name: kind for name, kind in types.items() if not name.startswith(_NO_WEIGHTS)}
        other = [name for name, kind in weights.items() if kind not in _FLOATS and name not in small]
        if other:
            raise UserError(
                f"must hold weights in floats, but holds {other[0]} in {types[other[0]]}: quantised weights cannot be "
                "read",
                field=str(path),
            )
        if small:
            warnings.warn(f"{path}: {len(small)} weights of 8 bits are taken as they are, unscaled", Note, stacklevel=2)


def names_in_bf16(folder: Path) -> set[str]:
    """Give the names of the weights that safetensors files hold in bfloat16."""
    found: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safetensors.safe_open(path, framework="pt") as file:
            names = file.keys()  # no mapping
            found |= {name for name in names if file.get_slice(name).get_dtype() == "BF16"}
    return found


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
