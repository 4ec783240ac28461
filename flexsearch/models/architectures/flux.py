"""FLUX.1 (Black Forest Labs 2024): diffusers' `FluxTransformer2DModel`."""

from collections.abc import Mapping
from typing import Any

from flexsearch.models.architectures.architecture import Architecture, register_architecture, size_in
from flexsearch.models.architectures.joint import (
    TIME_FREQUENCIES,
    double_stream,
    embedder_macs,
    embedder_params,
    linear_params,
    optional_size,
    packed_sizes,
    single_stream,
)
from flexsearch.schedule.shape import BlockCost, TransformerShape

_TOKENS = {"text_tokens": 512, "sample_size": 128}
"""Of diffusers' pipeline, which draws at 1024 px; a configuration may say others."""

_DEV = {
    "_class_name": "FluxTransformer2DModel",
    "attention_head_dim": 128,
    "axes_dims_rope": [16, 56, 56],
    "guidance_embeds": True,
    "in_channels": 64,
    "joint_attention_dim": 4096,
    "num_attention_heads": 24,
    "num_layers": 19,
    "num_single_layers": 38,
    "patch_size": 1,
    "pooled_projection_dim": 768,
}


def shape_of(config: Mapping[str, Any]) -> TransformerShape:
    """Give the sizes of a model."""
    head, double, single = (size_in(config, name) for name in ("attention_head_dim", "num_layers", "num_single_layers"))
    c, text, pooled = (
        head * size_in(config, "num_attention_heads"),
        size_in(config, "joint_attention_dim"),
        size_in(config, "pooled_projection_dim"),
    )
    sizes, packed = packed_sizes(config, default=_TOKENS["sample_size"])
    tokens = optional_size(config, "text_tokens", default=_TOKENS["text_tokens"])
    embeds_guidance = bool(config.get("guidance_embeds"))
    num_times = 2 if embeds_guidance else 1
    ends = linear_params(packed, c) + num_times * embedder_params(TIME_FREQUENCIES, c) + embedder_params(pooled, c)
    return TransformerShape(
        **sizes,
        num_blocks=double + single,
        width=c,
        num_classes=0,
        text_tokens=tokens,
        text_channels=text,
        pooled_channels=pooled,
        embeds_guidance=embeds_guidance,
        has_text_mask=False,
        blocks=(double_stream(c, tokens, head=head),) * double + (single_stream(c, tokens, head=head),) * single,
        ends=BlockCost(
            fixed=num_times * embedder_macs(TIME_FREQUENCIES, c) + embedder_macs(pooled, c) + 2 * c * c,
            per_query=2 * c * packed,
            params=ends + linear_params(text, c) + linear_params(c, 2 * c) + linear_params(c, packed),
        ),
        read_text=tokens * text * c,
    )


FLUX = register_architecture(
    Architecture(
        name="flux",
        adapter="flexsearch.models.backbones.flux:FluxBackbone",
        shape_of=shape_of,
        recognises=lambda config: (
            config.get("_class_name") in ("FluxTransformer2DModel", None) and "num_single_layers" in config
        ),
        class_name="FluxTransformer2DModel",
        task="text-to-image",
        takes_sample_size=True,
        pipeline="FluxPipeline",
        has_own_encoders=True,
        schedulers={
            "black-forest-labs/FLUX.1-dev": {
                "base_image_seq_len": 256,
                "base_shift": 0.5,
                "max_image_seq_len": 4096,
                "max_shift": 1.15,
                "shift": 3.0,
                "use_dynamic_shifting": True,
            }
        },
        known={
            "black-forest-labs/FLUX.1-dev": _DEV,
            "black-forest-labs/FLUX.1-schnell": {**_DEV, "guidance_embeds": False},
        },
    )
)
