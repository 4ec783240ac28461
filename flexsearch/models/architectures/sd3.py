"""Stable Diffusion 3 and 3.5 (Esser et al. 2024, arXiv 2403.03206): diffusers' `SD3Transformer2DModel`."""

from collections.abc import Mapping
from typing import Any

from flexsearch.models.architectures.architecture import (
    Architecture,
    common_sizes,
    register_architecture,
    size_in,
)
from flexsearch.models.architectures.joint import double_stream, joint_costs
from flexsearch.models.architectures.pipeline_sizes import optional_size
from flexsearch.schedule.cost import TIME_FREQUENCIES
from flexsearch.schedule.shape import TransformerShape

TEXT_TOKENS = 333
"""77 of the two CLIPs and 256 of T5, as diffusers' pipeline gives them."""

_MEDIUM = {
    "_class_name": "SD3Transformer2DModel",
    "attention_head_dim": 64,
    "caption_projection_dim": 1536,
    "in_channels": 16,
    "joint_attention_dim": 4096,
    "num_attention_heads": 24,
    "num_layers": 24,
    "out_channels": 16,
    "patch_size": 2,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
    "sample_size": 128,
}
_LARGE = {
    **_MEDIUM,
    "caption_projection_dim": 2432,
    "num_attention_heads": 38,
    "num_layers": 38,
    "qk_norm": "rms_norm",
}


def shape_of(config: Mapping[str, Any]) -> TransformerShape:
    """Give the sizes of a model."""
    sizes = common_sizes(config)
    c, n, pixels = sizes["width"], sizes["num_blocks"], sizes["patch_size"] ** 2
    text, pooled, side = (
        size_in(config, name) for name in ("joint_attention_dim", "pooled_projection_dim", "pos_embed_max_size")
    )
    tokens = optional_size(config, "text_tokens", default=TEXT_TOKENS)
    second = set(config.get("dual_attention_layers") or ())
    head = size_in(config, "attention_head_dim") if config.get("qk_norm") else 0
    costs = joint_costs(
        c,
        [
            double_stream(c, tokens, head=head, passes_text_on=block < n - 1, has_second=block in second)
            for block in range(n)
        ],
        text=(tokens, text),
        channels=(pixels * sizes["in_channels"], pixels * sizes["out_channels"]),
        embedders=[TIME_FREQUENCIES, pooled],
        more_params=side * side * c,  # places, a table that is never trained
    )
    return TransformerShape(**{**sizes, **costs}, pooled_channels=pooled, has_text_mask=False)


SD3 = register_architecture(
    Architecture(
        name="sd3",
        adapter="flexsearch.models.backbones.sd3:SD3Backbone",
        shape_of=shape_of,
        recognises=lambda config: (
            config.get("_class_name") in ("SD3Transformer2DModel", None) and "pooled_projection_dim" in config
        ),
        class_name="SD3Transformer2DModel",
        task="text-to-image",
        pipeline="StableDiffusion3Pipeline",
        has_own_encoders=True,
        drawn_with={"steps": 28, "guidance": 4.5},
        schedulers={
            f"stabilityai/{name}": {"shift": 3.0}
            for name in (
                "stable-diffusion-3-medium-diffusers",
                "stable-diffusion-3.5-medium",
                "stable-diffusion-3.5-large",
            )
        },
        known={
            "stabilityai/stable-diffusion-3-medium-diffusers": _MEDIUM,
            "stabilityai/stable-diffusion-3.5-medium": {
                **_MEDIUM,
                "dual_attention_layers": list(range(13)),
                "pos_embed_max_size": 384,
                "qk_norm": "rms_norm",
            },
            "stabilityai/stable-diffusion-3.5-large": _LARGE,
        },
    )
)
