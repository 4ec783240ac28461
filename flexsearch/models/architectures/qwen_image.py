"""Qwen-Image (Wu et al. 2025, arXiv 2508.02324): diffusers' `QwenImageTransformer2DModel`."""

from collections.abc import Mapping
from typing import Any

from flexsearch.errors import UserError
from flexsearch.models.architectures.architecture import Architecture, register_architecture, size_in
from flexsearch.models.architectures.joint import (
    TIME_FREQUENCIES,
    double_stream,
    embedder_macs,
    embedder_params,
    linear_params,
    optional_size,
    packed_sizes,
)
from flexsearch.schedule.shape import BlockCost, TransformerShape

_TOKENS = {"text_tokens": 512, "sample_size": 128}
"""Of diffusers' pipeline, which draws at 1024 px unless it is told otherwise; a configuration may say others."""
_OF_EDITING = ("zero_cond_t", "use_additional_t_cond", "use_layer3d_rope")


def shape_of(config: Mapping[str, Any]) -> TransformerShape:
    """Give the sizes of a model.

    Raises:
        UserError: it is one that edits or layers images.
    """
    for option in _OF_EDITING:
        if config.get(option):
            raise UserError("must be off: models that edit or layer images are not supported", field=option)
    head, num_blocks = size_in(config, "attention_head_dim"), size_in(config, "num_layers")
    c, text = head * size_in(config, "num_attention_heads"), size_in(config, "joint_attention_dim")
    sizes, packed = packed_sizes(config, default=_TOKENS["sample_size"])
    tokens = optional_size(config, "text_tokens", default=_TOKENS["text_tokens"])
    ends = linear_params(packed, c) + embedder_params(TIME_FREQUENCIES, c) + text
    return TransformerShape(
        **sizes,
        num_blocks=num_blocks,
        width=c,
        num_classes=0,
        text_tokens=tokens,
        text_channels=text,
        blocks=(double_stream(c, tokens, head=head),) * num_blocks,
        ends=BlockCost(
            fixed=embedder_macs(TIME_FREQUENCIES, c) + 2 * c * c,
            per_query=2 * c * packed,
            params=ends + linear_params(text, c) + linear_params(c, 2 * c) + linear_params(c, packed),
        ),
        read_text=tokens * text * c,
    )


QWEN_IMAGE = register_architecture(
    Architecture(
        name="qwen_image",
        adapter="flexsearch.models.backbones.qwen_image:QwenImageBackbone",
        shape_of=shape_of,
        recognises=lambda config: (
            config.get("_class_name") == "QwenImageTransformer2DModel"
            or (
                config.get("_class_name") is None
                and "joint_attention_dim" in config
                and "pooled_projection_dim" not in config
            )
        ),
        class_name="QwenImageTransformer2DModel",
        task="text-to-image",
        takes_sample_size=True,
        pipeline="QwenImagePipeline",
        has_own_encoders=True,
        schedulers={
            "Qwen/Qwen-Image": {
                "base_image_seq_len": 256,
                "base_shift": 0.5,
                "max_image_seq_len": 8192,
                "max_shift": 0.9,
                "shift_terminal": 0.02,
                "time_shift_type": "exponential",
                "use_dynamic_shifting": True,
            }
        },
        known={
            "Qwen/Qwen-Image": {
                "_class_name": "QwenImageTransformer2DModel",
                "attention_head_dim": 128,
                "axes_dims_rope": [16, 56, 56],
                "guidance_embeds": False,
                "in_channels": 64,
                "joint_attention_dim": 3584,
                "num_attention_heads": 24,
                "num_layers": 60,
                "out_channels": 16,
                "patch_size": 2,
            }
        },
        licences={"Qwen/Qwen-Image": "apache-2.0"},
    )
)
