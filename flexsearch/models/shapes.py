"""The sizes of a base model, read from its configuration alone. Needs no torch and no weights."""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from flexsearch.errors import UserError
from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.macs import TransformerShape

CAPTION_TOKENS = 120
"""Tokens of a caption, padding included, in PixArt-alpha and Latte."""

DIT_DEFAULTS: dict[str, Any] = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": None,
    "num_layers": 28,
    "sample_size": 32,
    "patch_size": 2,
    "num_embeds_ada_norm": 1000,
}
PIXART_DEFAULTS: dict[str, Any] = {
    **DIT_DEFAULTS,
    "out_channels": 8,
    "sample_size": 128,
    "caption_channels": None,
    "use_additional_conditions": None,
}
LATTE_DEFAULTS: dict[str, Any] = {
    "num_attention_heads": 16,
    "attention_head_dim": 88,
    "out_channels": None,
    "num_layers": 1,
    "sample_size": 64,
    "video_length": 16,
}

_PUBLISHED: dict[str, Any] = {
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "attention_head_dim": 72,
    "dropout": 0.0,
    "in_channels": 4,
    "norm_elementwise_affine": False,
    "num_attention_heads": 16,
    "num_embeds_ada_norm": 1000,
    "num_layers": 28,
    "out_channels": 8,
    "patch_size": 2,
}
_DIT_XL_2 = {**_PUBLISHED, "norm_type": "ada_norm_zero"}
_TEXT = {**_PUBLISHED, "caption_channels": 4096, "cross_attention_dim": 1152, "norm_type": "ada_norm_single"}
_PIXART_XL_2 = {**_TEXT, "norm_eps": 1e-6}

KNOWN_CONFIGS: dict[str, dict[str, Any]] = {
    "facebook/DiT-XL-2-256": {**_DIT_XL_2, "sample_size": 32},
    "facebook/DiT-XL-2-512": {**_DIT_XL_2, "sample_size": 64},
    "PixArt-alpha/PixArt-XL-2-256x256": {**_PIXART_XL_2, "sample_size": 32},
    "PixArt-alpha/PixArt-XL-2-512x512": {**_PIXART_XL_2, "sample_size": 64},
    "PixArt-alpha/PixArt-XL-2-1024-MS": {**_PIXART_XL_2, "sample_size": 128},
    "maxin-cn/Latte-1": {**_TEXT, "norm_eps": 1e-6, "sample_size": 64, "video_length": 16},
}
"""Public checkpoints whose sizes are known without the network."""


def dit_shape_of(config: Mapping[str, Any], *, num_embedders: int = 1) -> TransformerShape:
    """The shape of diffusers' `DiTTransformer2DModel` with `config`; absent fields have diffusers' defaults."""
    values = {**DIT_DEFAULTS, **config}
    return TransformerShape(**_common(values), num_classes=values["num_embeds_ada_norm"], num_embedders=num_embedders)


def pixart_shape_of(config: Mapping[str, Any]) -> TransformerShape:
    """The shape of diffusers' `PixArtTransformer2DModel` with `config`; absent fields have diffusers' defaults."""
    values = {**PIXART_DEFAULTS, **config}
    reads_size = values["use_additional_conditions"]
    return TransformerShape(
        **_common(values),
        **_text(values),
        reads_size=values["sample_size"] == 128 if reads_size is None else bool(reads_size),
    )


def latte_shape_of(config: Mapping[str, Any]) -> TransformerShape:
    """The shape of diffusers' `LatteTransformer3DModel` with `config`; absent fields have diffusers' defaults."""
    values = {**LATTE_DEFAULTS, **config}
    return TransformerShape(**_common(values, frames=values["video_length"]), **_text(values), has_temporal_blocks=True)


ShapeFunction = Callable[[Mapping[str, Any]], TransformerShape]

SHAPES: dict[str, ShapeFunction] = {
    "dit": dit_shape_of,
    "pixart": pixart_shape_of,
    "latte": latte_shape_of,
}
ENTRY_POINTS = "flexsearch.backbones"
"""Group of entry points by which an installed package brings backbones: name of the backbone, module that registers
it."""


def shape_function(backbone: str, *, field: str) -> ShapeFunction:
    """From a configuration of `backbone` to its sizes. One that is not known yet is looked for in installed packages.

    Raises:
        UserError: there is none.
    """
    if backbone not in SHAPES:
        for entry in entry_points(group=ENTRY_POINTS, name=backbone):
            entry.load()
    if backbone not in SHAPES:
        raise UserError(f"must be one of {sorted(SHAPES)}, but got {backbone!r}", field=field)
    return SHAPES[backbone]


def _common(values: Mapping[str, Any], *, frames: int = 1) -> dict[str, Any]:
    side = values["sample_size"] // values["patch_size"]
    return {
        "num_blocks": values["num_layers"],
        "width": values["num_attention_heads"] * values["attention_head_dim"],
        "grid": TokenGrid(frames=frames, height=side, width=side),
        "patch_size": values["patch_size"],
        "in_channels": values["in_channels"],
        "out_channels": values["out_channels"] or values["in_channels"],
    }


def _text(values: Mapping[str, Any]) -> dict[str, Any]:
    if not values.get("caption_channels"):
        raise UserError("must be given for a model that reads text", field="base.config.caption_channels")
    return {
        "num_classes": 0,
        "text_tokens": CAPTION_TOKENS,
        "text_channels": values["caption_channels"],
        "shares_modulation": True,
    }
