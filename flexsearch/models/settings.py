"""Say which dense base is searched, and its sizes. Needs no torch and no weights."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from flexsearch.errors import UserError, reading, shown
from flexsearch.models.architectures import (
    ARCHITECTURES,
    architecture_named,
    known_checkpoints,
    known_config,
    recognised,
    refusal_of,
)
from flexsearch.models.architectures.dit import DIT
from flexsearch.paths import checkpoint_folder, is_path
from flexsearch.schedule.clock import Clock, Spacing
from flexsearch.schedule.shape import TransformerShape
from flexsearch.settings import PositiveCount, settings


@settings
class BaseSettings:
    """The dense base.

    Attributes:
        checkpoint: "embedded:quickstart", a folder in diffusers' pipeline layout, or a model on the Hugging Face hub.
        backbone: name of an architecture, such as "dit", "sd3" or "flux"; of the package or of an installed one.
        revision: of a model on the hub.
        config: diffusers configuration of the transformer, for bases that `flexsearch pretrain` makes.
        sample_size: side or (height, width) of an image, or (frames, height, width) of a video, in latents, of a base
            whose configuration says none (FLUX, Qwen-Image, Z-Image, Wan); None takes what its publisher's pipeline
            draws.
        dtype: of its weights: "fp32"; or "bf16", half of the memory, where nothing is trained and images are drawn in
            bf16.
        offload: "leaf_level" keeps the weights of layers in the CPU's memory but for the call of each, for a base that
            is larger than its GPU, where nothing is trained. None has all of it on the device.
    """

    checkpoint: str
    backbone: str = "dit"
    revision: str | None = None
    config: Mapping[str, Any] | None = None
    sample_size: PositiveCount | tuple[PositiveCount, ...] | None = None
    dtype: Literal["fp32", "bf16"] = "fp32"
    offload: Literal["leaf_level"] | None = None

    def __post_init__(self) -> None:
        architecture = architecture_named(self.backbone, field="base.backbone")
        if self.sample_size is not None and not architecture.takes_sample_size:
            raise UserError(
                f"is in the configuration of a {self.backbone} base, but got {self.sample_size}",
                field="base.sample_size",
                nearest="null",
            )


def backbone_of(checkpoint: str) -> str:
    """Give the architecture of a checkpoint, from its own configuration or its known name; "dit" without either.

    Raises:
        UserError: its configuration is that of no architecture that is known.
    """
    config = _config_of(checkpoint)
    if config is not None:
        return recognised(config, field=f"base.checkpoint: {checkpoint}").name
    return next((one.name for one in ARCHITECTURES.values() if checkpoint in one.known), DIT.name)


def _config_of(checkpoint: str) -> dict[str, Any] | None:
    """The configuration of a checkpoint's transformer that is on this machine as a folder."""
    path = checkpoint_folder(checkpoint) / "transformer" / "config.json"
    return read_json(path) if path.is_file() else None


def read_json(path: Path) -> dict[str, Any]:
    """Read the mapping in a JSON file.

    Raises:
        UserError: it is damaged; names it.
    """
    with reading(path):
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise UserError(f"must be a mapping, but got {shown(values)}")
        return values


def base_shape(settings: BaseSettings) -> TransformerShape:
    """Give the base's sizes.

    Raises:
        UserError: its configuration is not known, is that of another architecture, or holds sizes that no such model
            can have.
    """
    architecture, config = architecture_named(settings.backbone, field="base.backbone"), base_config(settings)
    if not architecture.recognises(config):
        field = "base.config" if settings.config else f"base.checkpoint: {settings.checkpoint}"
        other = recognised(config, field=field).name
        raise UserError(f"must be {other!r} for this base, but got {settings.backbone!r}", field="base.backbone")
    where = "base.config" if settings.config else checkpoint_folder(settings.checkpoint) / "transformer" / "config.json"
    with reading(where, rule="is no configuration of a transformer"):
        return architecture.shape_of(config)


def base_config(settings: BaseSettings) -> Mapping[str, Any]:
    """Give the base's configuration: `config`, that of its folder or of the hub's cache, or that of a published
    checkpoint.

    Raises:
        UserError: none of them is there, or it is a checkpoint that is not supported.
    """
    check_supported(settings)
    config = settings.config or _config_of(settings.checkpoint)
    if config is None and (cached := _in_hub_cache(settings, "transformer/config.json")) is not None:
        config = read_json(cached)
    config = config or known_config(settings.checkpoint)
    if config is None and checkpoint_folder(settings.checkpoint).is_dir():
        raise UserError(
            "holds no transformer/config.json: it is no pipeline of diffusers with a transformer",
            field=f"base.checkpoint: {settings.checkpoint}",
        )
    if config is None:
        raise UserError(
            f"{settings.checkpoint} is not on this machine, and none whose sizes are known; download it, or give its "
            "diffusers configuration as base.config",
            field="base.checkpoint",
            nearest=next(iter(difflib.get_close_matches(settings.checkpoint, known_checkpoints(), n=1)), None),
        )
    return config if settings.sample_size is None else {**config, "sample_size": settings.sample_size}


def check_supported(settings: BaseSettings) -> None:
    """Check that a checkpoint is none that is known to need more than one dense base.

    Raises:
        UserError: it is; says why.
    """
    reason = refusal_of(settings.checkpoint)
    if reason is None and (checkpoint_folder(settings.checkpoint) / "transformer_2").is_dir():
        reason = "has two transformers, of which one is searched alone"
    if reason is not None:
        raise UserError(f"{settings.checkpoint} {reason}", field="base.checkpoint")


def base_clock(settings: BaseSettings, *, spacing: Spacing = "pipeline") -> Clock:
    """Give the clock of the base's scheduler: of its folder or the hub's cache, else of the class that its publishers
    sample with, or of flow matching for a base that is given by its configuration.

    Raises:
        UserError: the scheduler is one that flexsearch does not sample with.
    """
    path = checkpoint_folder(settings.checkpoint) / "scheduler" / "scheduler_config.json"
    is_elsewhere = not path.exists() and settings.config is None
    cached = _in_hub_cache(settings, "scheduler/scheduler_config.json") if is_elsewhere else None
    if path.exists() or cached is not None:
        with reading(cached or path):
            return Clock.of(read_json(cached or path), spacing=spacing)
    if settings.config is not None:
        return Clock(spacing=spacing)
    architecture = architecture_named(settings.backbone, field="base.backbone")
    return Clock.of(architecture.scheduler_of(settings.checkpoint), spacing=spacing)


def _in_hub_cache(settings: BaseSettings, file: str) -> Path | None:
    """Find a file of a model on the hub, where an earlier download left it.

    By the documented layout of the cache: `huggingface_hub.try_to_load_from_cache` takes most of a second to import.
    """
    if is_path(settings.checkpoint):
        return None
    from huggingface_hub.constants import HF_HUB_CACHE  # other bases need not wait for it

    folder = Path(HF_HUB_CACHE) / f"models--{settings.checkpoint.replace('/', '--')}"
    revision = settings.revision or "main"
    named = folder / "refs" / revision
    commit = named.read_text(encoding="utf-8") if named.is_file() else revision
    path = folder / "snapshots" / commit / file
    return path if path.is_file() else None
