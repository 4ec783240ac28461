"""Which dense base is searched, and its sizes. Needs no torch and no weights."""

import json
from collections.abc import Mapping
from typing import Any

from flexsearch.errors import UserError
from flexsearch.models.shapes import KNOWN_CONFIGS, shape_function
from flexsearch.paths import PREFIX, resolve_path
from flexsearch.schedule.macs import TransformerShape
from flexsearch.settings import settings


@settings
class BaseSettings:
    """The dense base.

    Attributes:
        checkpoint: "embedded:quickstart", a folder in diffusers' pipeline layout, or a model on the Hugging Face hub.
        backbone: architecture: "dit", "pixart", "latte", or one that an installed package brings.
        revision: of a model on the hub.
        config: diffusers configuration of the transformer, for bases that `flexsearch pretrain` makes.
    """

    checkpoint: str
    backbone: str = "dit"
    revision: str | None = None
    config: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        shape_function(self.backbone, field="base.backbone")


_BACKBONES = {"PixArtTransformer2DModel": "pixart", "LatteTransformer3DModel": "latte"}


def backbone_of(checkpoint: str) -> str:
    """The architecture of a checkpoint, from its own configuration or its known name; "dit" where neither says.

    Early checkpoints call every class `Transformer2DModel`; those with captions are PixArt-alpha's.
    """
    path = resolve_path(checkpoint, inside="base" if checkpoint.startswith(PREFIX) else "")
    file = path / "transformer" / "config.json"
    config = json.loads(file.read_text()) if file.exists() else KNOWN_CONFIGS.get(checkpoint, {})
    named = _BACKBONES.get(config.get("_class_name", ""))
    if named == "latte" or "video_length" in config:
        return "latte"
    return "pixart" if named == "pixart" or config.get("caption_channels") else "dit"


def base_shape(settings: BaseSettings) -> TransformerShape:
    """The base's sizes: from `config`, from its folder, or from the table of public checkpoints.

    Raises:
        UserError: none of the three knows them.
    """
    shape_of = shape_function(settings.backbone, field="base.backbone")
    if settings.config is not None:
        return shape_of(settings.config)
    inside = "base" if settings.checkpoint.startswith(PREFIX) else ""
    path = resolve_path(settings.checkpoint, inside=inside) / "transformer" / "config.json"
    if path.exists():
        return shape_of(json.loads(path.read_text()))
    if settings.checkpoint in KNOWN_CONFIGS:
        return shape_of(KNOWN_CONFIGS[settings.checkpoint])
    raise UserError(
        f"{settings.checkpoint} is not on this machine and not one of {sorted(KNOWN_CONFIGS)}; "
        "download it, or give its diffusers configuration as base.config",
        field="base.checkpoint",
    )
