"""PixArt-alpha (Chen et al. 2023, arXiv 2310.00426): diffusers' `PixArtTransformer2DModel`."""

from collections.abc import Mapping
from typing import Any

from flexsearch.models.architectures.architecture import (
    PUBLISHED_WITH_TEXT,
    Architecture,
    common_sizes,
    register_architecture,
    text_sizes,
    width_sizes,
)
from flexsearch.schedule.shape import TransformerShape


def shape_of(config: Mapping[str, Any]) -> TransformerShape:
    """Give the sizes of a model."""
    reads_size = config.get("use_additional_conditions")
    return TransformerShape(
        **common_sizes(config),
        **width_sizes(config),
        **text_sizes(config),
        reads_size=config["sample_size"] == 128 if reads_size is None else bool(reads_size),
    )


PIXART = register_architecture(
    Architecture(
        name="pixart",
        adapter="flexsearch.models.backbones.pixart:PixArtBackbone",
        shape_of=shape_of,
        recognises=lambda config: (
            config.get("_class_name") in ("PixArtTransformer2DModel", "Transformer2DModel", None)
            and bool(config.get("caption_channels"))
            and "video_length" not in config
        ),
        class_name="PixArtTransformer2DModel",
        scheduler="DPMSolverMultistepScheduler",
        task="text-to-image",
        pipeline="PixArtAlphaPipeline",
        known={
            "PixArt-alpha/PixArt-XL-2-256x256": {**PUBLISHED_WITH_TEXT, "sample_size": 32},
            "PixArt-alpha/PixArt-XL-2-512x512": {**PUBLISHED_WITH_TEXT, "sample_size": 64},
            "PixArt-alpha/PixArt-XL-2-1024-MS": {**PUBLISHED_WITH_TEXT, "sample_size": 128},
        },
        licences={"PixArt-alpha/PixArt-XL-2-256x256": "openrail++"},
        drawn_with={"steps": 20, "guidance": 4.5},
    )
)
