"""The sizes of a base model, read from its configuration alone. Needs no torch and no weights."""

from collections.abc import Mapping
from typing import Any

from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.macs import TransformerShape

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

_DIT_XL_2 = {**DIT_DEFAULTS, "out_channels": 8, "activation_fn": "gelu-approximate", "norm_type": "ada_norm_zero"}

KNOWN_CONFIGS: dict[str, dict[str, Any]] = {
    "facebook/DiT-XL-2-256": {**_DIT_XL_2, "sample_size": 32},
    "facebook/DiT-XL-2-512": {**_DIT_XL_2, "sample_size": 64},
}
"""Public checkpoints whose sizes are known without the network."""


def dit_shape_of(config: Mapping[str, Any], *, num_embedders: int = 1) -> TransformerShape:
    """The shape of diffusers' `DiTTransformer2DModel` with `config`; absent fields have diffusers' defaults."""
    values = {**DIT_DEFAULTS, **config}
    side = values["sample_size"] // values["patch_size"]
    return TransformerShape(
        num_blocks=values["num_layers"],
        width=values["num_attention_heads"] * values["attention_head_dim"],
        grid=TokenGrid(height=side, width=side),
        patch_size=values["patch_size"],
        in_channels=values["in_channels"],
        out_channels=values["out_channels"] or values["in_channels"],
        num_classes=values["num_embeds_ada_norm"],
        num_embedders=num_embedders,
    )
