"""Qwen-Image (Wu et al. 2025, arXiv 2508.02324): diffusers' `QwenImageTransformer2DModel`."""

from collections.abc import Mapping
from typing import Any

from flexsearch.errors import UserError
from flexsearch.models.architectures.architecture import Architecture, register_architecture, size_in
from flexsearch.models.architectures.joint import double_stream, joint_costs
from flexsearch.models.architectures.pipeline_sizes import optional_size, packed_sizes
from flexsearch.schedule.cost import TIME_FREQUENCIES
from flexsearch.schedule.shape import TransformerShape

TEXT_TOKENS = 512
"""As many as diffusers' pipeline takes at most, unless it is told otherwise."""
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
    sizes, packed = packed_sizes(config)
    tokens = optional_size(config, "text_tokens", default=TEXT_TOKENS)
    costs = joint_costs(
        c,
        (double_stream(c, tokens, head=head),) * num_blocks,
        text=(tokens, text),
        channels=(packed, packed),
        embedders=[TIME_FREQUENCIES],
        more_params=text,  # of the norm before the text's projection
    )
    return TransformerShape(**sizes, **costs)


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
        drawn_with={"steps": 50, "guidance": 4.0, "guidance_renorm": True},
        guided_call=lambda scale: {"true_cfg_scale": scale, "negative_prompt": ""},
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
