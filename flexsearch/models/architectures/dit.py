"""DiT (Peebles & Xie 2023, arXiv 2212.09748): diffusers' `DiTTransformer2DModel`."""

from collections.abc import Mapping
from typing import Any

from flexsearch.models.architectures.architecture import (
    PUBLISHED,
    Architecture,
    common_sizes,
    register_architecture,
    size_in,
    width_sizes,
)
from flexsearch.schedule.shape import TransformerShape

_XL_2 = {**PUBLISHED, "norm_type": "ada_norm_zero"}


def shape_of(config: Mapping[str, Any]) -> TransformerShape:
    """Give the sizes of a model whose blocks share one embedder."""
    classes = size_in(config, "num_embeds_ada_norm")
    return TransformerShape(**common_sizes(config), **width_sizes(config), num_classes=classes)


DIT = register_architecture(
    Architecture(
        name="dit",
        adapter="flexsearch.models.backbones.dit:DiTBackbone",
        shape_of=shape_of,
        recognises=lambda config: (
            config.get("_class_name") in ("DiTTransformer2DModel", "Transformer2DModel", None)
            and not config.get("caption_channels")
        ),
        class_name="DiTTransformer2DModel",
        scheduler="DDIMScheduler",
        task="unconditional-image-generation",
        known={
            "facebook/DiT-XL-2-256": {**_XL_2, "sample_size": 32},
            "facebook/DiT-XL-2-512": {**_XL_2, "sample_size": 64},
        },
        licences={"facebook/DiT-XL-2-256": "cc-by-nc-4.0", "facebook/DiT-XL-2-512": "cc-by-nc-4.0"},
        drawn_with={"steps": 50, "guidance": 1.5, "guidance_channels": 3},
    )
)
