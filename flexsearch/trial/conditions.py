"""Conditions of a run's images: its data's, or, where it has none, all classes in turn or the captions of a file.

Embeddings of captions are kept in `~/.cache/flexsearch/captions` (below XDG_CACHE_HOME where that is set): a text
encoder may need more memory than all else.
"""

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from flexsearch.data.captions import read_lines
from flexsearch.data.check import check_conditions
from flexsearch.data.conditions import (
    CaptionConditions,
    ClassConditions,
    Conditions,
    in_16_bits,
    joined,
    size_condition,
)
from flexsearch.errors import UserError
from flexsearch.files import write_to_cache
from flexsearch.measurement import short_digest
from flexsearch.models.architectures import architecture_named
from flexsearch.models.prompt_encoder import EmbeddedPrompt, load_prompt_encoder
from flexsearch.models.settings import base_shape
from flexsearch.paths import cache_folder, checkpoint_folder, resolve_path
from flexsearch.trial.settings import InputSettings
from flexsearch.trial.shared_files import base_fingerprint

_CHUNK = 64  # captions per call of the text encoder


def read_captions(settings: InputSettings) -> tuple[str, ...]:
    """Read the captions of a run without data; none of a base that reads class labels.

    Raises:
        UserError: the base reads text and there are no captions, or they cannot be read.
    """
    reads_text = base_shape(settings.base).text_tokens > 0
    if settings.data.name == "captions":
        if not reads_text:
            raise UserError("has captions, but the base reads class labels", field="data.name", nearest="none")
        return tuple(read_lines(resolve_path(settings.data.root)))
    if reads_text:
        raise UserError(
            "is missing: this base reads text, so its images need captions, one a line of a file",
            field="data",
            nearest="{name: captions, root: FILE}, or embedded:prompts.txt for FILE",
        )
    return ()


def conditions_of(captions: Sequence[str], settings: InputSettings, *, device: torch.device) -> Conditions:
    """Give the captions in turn, or all classes in turn where there are none.

    Raises:
        UserError: there is no text encoder, or it is not the base's.
    """
    shape = base_shape(settings.base)
    if not captions:
        return ClassConditions(num_classes=shape.num_classes)
    embedded = _embedded(captions, settings, device=device)
    conditions = CaptionConditions(
        rows=embedded["rows"],
        ends=embedded["ends"],
        empty=embedded["empty"],
        max_tokens=shape.text_tokens,
        has_mask=shape.has_text_mask,
        pooled=embedded.get("pooled"),
        empty_pooled=embedded.get("empty_pooled"),
        added=size_condition(shape),
    )
    check_conditions(conditions, shape)
    return conditions


def encoders_identity(settings: InputSettings) -> dict[str, Any]:
    """Identify what embeds captions: the weights of one to three encoders, and how many tokens the base reads."""
    parts = ["text_encoder"]
    if architecture_named(settings.base.backbone, field="base.backbone").has_own_encoders:
        folder = checkpoint_folder(settings.base.checkpoint)
        parts += [name for name in ("text_encoder_2", "text_encoder_3") if (folder / name).is_dir()]
    found = [base_fingerprint(settings, part=part) for part in parts]
    return {"encoder": found[0] if len(found) == 1 else found, "max_tokens": base_shape(settings.base).text_tokens}


def _embedded(captions: Sequence[str], settings: InputSettings, *, device: torch.device) -> dict[str, Tensor]:
    """Embed captions, or find their embeddings kept."""
    base, max_tokens = settings.base, base_shape(settings.base).text_tokens
    digest = short_digest({"captions": list(captions), **encoders_identity(settings)})
    path = cache_folder("captions") / f"{digest}.safetensors"
    try:
        kept: dict[str, Tensor] = load_file(path)
        return kept
    except (OSError, SafetensorError):  # not there, or damaged
        pass
    architecture = architecture_named(base.backbone, field="base.backbone")
    embed = load_prompt_encoder(
        architecture, base.checkpoint, revision=base.revision, device=device, max_tokens=max_tokens
    ).embed
    (empty,), prompts = embed([""]), list[EmbeddedPrompt]()
    for start in range(0, len(captions), _CHUNK):
        prompts += embed(captions[start : start + _CHUNK])
    found = {**joined(prompts), "empty": empty.tokens}
    if empty.pooled is not None:
        found["empty_pooled"] = empty.pooled
    found = {name: value if name == "ends" else in_16_bits(value) for name, value in found.items()}
    write_to_cache(path, lambda temporary: save_file(found, temporary))
    return found
