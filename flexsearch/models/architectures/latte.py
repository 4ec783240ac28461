"""Latte (Ma et al. 2024, arXiv 2401.03048): diffusers' `LatteTransformer3DModel`."""

from collections.abc import Mapping
from typing import Any

from flexsearch.models.architectures.architecture import (
    PUBLISHED_WITH_TEXT,
    Architecture,
    common_sizes,
    register_architecture,
    size_in,
    text_sizes,
)
from flexsearch.schedule.shape import TransformerShape

_DEFAULTS: Mapping[str, Any] = {
    "num_attention_heads": 16,
    "attention_head_dim": 88,
    "out_channels": None,
    "num_layers": 1,
    "sample_size": 64,
    "video_length": 16,
}


def shape_of(config: Mapping[str, Any]) -> TransformerShape:
    """Give the sizes of a model: a block of a schedule is a spatial block and the temporal one after it."""
    values = {**_DEFAULTS, **config}
    sizes = common_sizes(values, frames=size_in(values, "video_length"))
    return TransformerShape(**sizes, **text_sizes(values), has_temporal_blocks=True)


LATTE = register_architecture(
    Architecture(
        name="latte",
        adapter="flexsearch.models.backbones.latte:LatteBackbone",
        shape_of=shape_of,
        recognises=lambda config: config.get("_class_name") == "LatteTransformer3DModel" or "video_length" in config,
        scheduler="DDIMScheduler",
        task="text-to-video",
        pipeline="LattePipeline",
        known={"maxin-cn/Latte-1": {**PUBLISHED_WITH_TEXT, "sample_size": 64, "video_length": 16}},
    )
)
