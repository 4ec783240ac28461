"""SANA and SANA 1.5 (Xie et al., arXiv 2410.10629 and 2501.18427): diffusers' `SanaTransformer2DModel`."""

from collections.abc import Mapping
from typing import Any

from flexsearch.errors import UserError, shown
from flexsearch.models.architectures.architecture import (
    MOST,
    Architecture,
    common_sizes,
    register_architecture,
    size_in,
)
from flexsearch.models.architectures.crossed import Crossed
from flexsearch.models.architectures.pipeline_sizes import optional_size
from flexsearch.schedule.shape import TransformerShape

CAPTION_TOKENS = 300
"""Of Gemma 2, padding included."""


def shape_of(config: Mapping[str, Any]) -> TransformerShape:
    """Give the sizes of a model.

    Raises:
        UserError: it is a SANA-Sprint, or its configuration is no SANA's.
    """
    for option, off in (("guidance_embeds", False), ("timestep_scale", 1.0)):
        if config.get(option, off) != off:
            raise UserError(
                f"must be {off}: SANA-Sprint, a distilled model of one to four steps, is not supported, but got "
                f"{shown(config[option])}",
                field=option,
            )
    norm = config.get("qk_norm")
    if norm not in (None, "rms_norm_across_heads"):
        raise UserError(f"must be None or rms_norm_across_heads, but got {shown(norm)}", field="qk_norm")
    sizes = common_sizes(config)
    c, area = sizes["width"], sizes["patch_size"] ** 2
    cross = size_in(config, "num_cross_attention_heads") * size_in(config, "cross_attention_head_dim")
    if not cross == config.get("cross_attention_dim") == c:
        raise UserError(
            f"must be {c}, the width of the tokens, but got {shown(config.get('cross_attention_dim'))}",
            field="cross_attention_dim",
        )
    ratio = config.get("mlp_ratio", 2.5)
    if not isinstance(ratio, int | float) or not 1 <= ratio * c <= MOST:  # NaN is neither
        raise UserError(
            f"must be a number that gives 1 to {MOST:,} channels, but got {shown(ratio)}", field="mlp_ratio"
        )
    hidden = int(ratio * c)
    costs = Crossed(
        width=c,
        num_blocks=sizes["num_blocks"],
        text_tokens=optional_size(config, "text_tokens", default=CAPTION_TOKENS),
        text_channels=size_in(config, "caption_channels"),
        mlp_macs=3 * c * hidden + 2 * 9 * hidden,  # values and gates, each convolved by 3 x 3 weights of its own
        mlp_params=3 * c * hidden + 2 * hidden * (1 + 9 + 1),
        linear_head=size_in(config, "attention_head_dim"),
        has_bias=bool(config.get("attention_bias")),
        norms_heads=norm is not None,
        more_params=2 * c if config.get("norm_elementwise_affine") else 0,
    )
    table = 0 if config.get("interpolation_scale") is None else sizes["grid"].num_tokens * c
    channels = (sizes["in_channels"], sizes["out_channels"])
    return TransformerShape(**{**sizes, **costs.shape(patch=area, channels=channels, ends_params=c + table)})


_PUBLISHED: Mapping[str, Any] = {
    "_class_name": "SanaTransformer2DModel",
    "attention_bias": False,
    "attention_head_dim": 32,
    "caption_channels": 2304,
    "cross_attention_dim": 2240,
    "cross_attention_head_dim": 112,
    "dropout": 0.0,
    "in_channels": 32,
    "interpolation_scale": None,
    "mlp_ratio": 2.5,
    "norm_elementwise_affine": False,
    "norm_eps": 1e-6,
    "num_attention_heads": 70,
    "num_cross_attention_heads": 20,
    "num_layers": 20,
    "out_channels": 32,
    "patch_size": 1,
    "sample_size": 32,
}
_600M: Mapping[str, Any] = {
    **_PUBLISHED,
    "cross_attention_dim": 1152,
    "cross_attention_head_dim": 72,
    "num_attention_heads": 36,
    "num_cross_attention_heads": 16,
    "num_layers": 28,
}
_QK_NORM: Mapping[str, Any] = {"qk_norm": "rms_norm_across_heads"}
_HUB = "Efficient-Large-Model"
_KNOWN = {
    f"{_HUB}/Sana_600M_512px_diffusers": {**_600M, "sample_size": 16},
    f"{_HUB}/Sana_600M_1024px_diffusers": _600M,
    f"{_HUB}/Sana_1600M_512px_diffusers": {**_PUBLISHED, "sample_size": 16},
    f"{_HUB}/Sana_1600M_1024px_diffusers": _PUBLISHED,
    f"{_HUB}/Sana_1600M_2Kpx_BF16_diffusers": {**_PUBLISHED, "interpolation_scale": 1.0, "sample_size": 64},
    f"{_HUB}/Sana_1600M_4Kpx_BF16_diffusers": {**_PUBLISHED, "interpolation_scale": 2.0, "sample_size": 128},
    f"{_HUB}/SANA1.5_1.6B_1024px_diffusers": {**_PUBLISHED, **_QK_NORM},
    f"{_HUB}/SANA1.5_4.8B_1024px_diffusers": {**_PUBLISHED, **_QK_NORM, "num_layers": 60},
}
_FLOW: Mapping[str, Any] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}

SANA = register_architecture(
    Architecture(
        name="sana",
        adapter="flexsearch.models.backbones.sana:SanaBackbone",
        shape_of=shape_of,
        recognises=lambda config: config.get("_class_name") == "SanaTransformer2DModel",
        class_name="SanaTransformer2DModel",
        scheduler="DPMSolverMultistepScheduler",
        task="text-to-image",
        pipeline="SanaPipeline",
        has_own_encoders=True,
        drawn_with={"steps": 20, "guidance": 4.5},
        known=_KNOWN,
        schedulers={name: {**_FLOW, "flow_shift": 6.0 if "4K" in name else 3.0} for name in _KNOWN},
    )
)
