"""FLUX.1 (Black Forest Labs 2024): diffusers' `FluxTransformer2DModel`. Letter: C width."""

from collections.abc import Mapping
from typing import Any

from flexsearch.models.architectures.architecture import Architecture, register_architecture, size_in
from flexsearch.models.architectures.joint import double_stream, joint_costs, single_stream
from flexsearch.models.architectures.linear import linear_params
from flexsearch.models.architectures.pipeline_sizes import optional_size, packed_sizes
from flexsearch.schedule.cost import TIME_FREQUENCIES
from flexsearch.schedule.shape import BlockCost, TransformerShape

TEXT_TOKENS = 512
"""Of T5, padding included, as diffusers' pipeline gives them."""

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
    sizes, packed = packed_sizes(config)
    tokens = optional_size(config, "text_tokens", default=TEXT_TOKENS)
    embeds_guidance = bool(config.get("guidance_embeds"))
    blocks = (double_stream(c, tokens, head=head),) * double + (_single(c, tokens, head=head),) * single
    costs = joint_costs(
        c,
        blocks,
        text=(tokens, text),
        channels=(packed, packed),
        embedders=[TIME_FREQUENCIES] * (2 if embeds_guidance else 1) + [pooled],
    )
    return TransformerShape(
        **sizes, **costs, pooled_channels=pooled, embeds_guidance=embeds_guidance, has_text_mask=False
    )


def _single(width: int, text_tokens: int, *, head: int) -> BlockCost:
    """Give the cost of a block whose attention and MLP, four times as wide as C, are projected out together."""
    c = width
    params = 6 * linear_params(c, c) + linear_params(c, 4 * c) + linear_params(5 * c, c) + 2 * head
    return single_stream(c, text_tokens, per_token=10 * c * c, modulation=3 * c * c, params=params)


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
        drawn_with={
            "steps": 28,
            "guidance": 3.5,
            "black-forest-labs/FLUX.1-schnell": {"steps": 4, "guidance": 1.0},
        },
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
