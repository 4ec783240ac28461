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
    width_sizes,
)
from flexsearch.schedule.shape import TransformerShape


def shape_of(config: Mapping[str, Any]) -> TransformerShape:
    """Give the sizes of a model: a block of a schedule is a spatial block and the temporal one after it."""
    sizes = common_sizes(config, frames=size_in(config, "video_length"))
    return TransformerShape(
        **sizes, **width_sizes(config, activation="geglu"), **text_sizes(config), has_temporal_blocks=True
    )


LATTE = register_architecture(
    Architecture(
        name="latte",
        adapter="flexsearch.models.backbones.latte:LatteBackbone",
        shape_of=shape_of,
        recognises=lambda config: (
            config.get("_class_name") == "LatteTransformer3DModel"
            or (config.get("_class_name") in ("Transformer2DModel", None) and "video_length" in config)
        ),
        class_name="LatteTransformer3DModel",
        scheduler="DDIMScheduler",
        task="text-to-video",
        pipeline="LattePipeline",
        drawn_with={"steps": 50, "guidance": 7.5},
        known={"maxin-cn/Latte-1": {**PUBLISHED_WITH_TEXT, "sample_size": 64, "video_length": 16}},
    )
)
