"""Wan 2.1 and the one-transformer model of Wan 2.2 (2025, arXiv 2503.20314): diffusers' `WanTransformer3DModel`.

A configuration of diffusers says no size of the videos. It is taken from `sample_size`, (frames, height, width) in
latents, which is added to it, else that of WanPipeline's defaults.
"""

from collections.abc import Mapping
from typing import Any

from flexsearch.errors import UserError, shown
from flexsearch.models.architectures.architecture import MOST, Architecture, register_architecture, size_in
from flexsearch.models.architectures.crossed import Crossed
from flexsearch.models.architectures.pipeline_sizes import optional_size
from flexsearch.schedule.shape import TokenGrid, TransformerShape

CAPTION_TOKENS = 512
"""Of umT5, padding included, which is read."""

SIZE_480P = (21, 60, 104)
"""81 frames of 480 x 832 pixels in latents, WanPipeline's default."""

SIZE_704P = (31, 44, 80)
"""121 frames of 704 x 1280 pixels in latents of the autoencoder of Wan2.2-TI2V-5B, which has 48 channels."""


def shape_of(config: Mapping[str, Any]) -> TransformerShape:
    """Give the sizes of a model.

    Raises:
        UserError: it reads images beside text, or its configuration is no Wan's.
    """
    channels, patch = size_in(config, "in_channels"), config.get("patch_size")
    reads_images = any(config.get(name) is not None for name in ("image_dim", "added_kv_proj_dim"))
    if reads_images or config.get("out_channels") not in (None, channels):
        raise UserError(
            f"must be the {channels} that it draws: models that read images beside text are not supported, but got "
            f"{shown(config.get('out_channels'))} and image_dim {shown(config.get('image_dim'))}",
            field="in_channels, out_channels",
        )
    if not isinstance(patch, list | tuple) or len(patch) != 3 or patch[0] != 1 or patch[1] != patch[2]:
        raise UserError(f"must be (1, P, P), but got {shown(patch)}", field="patch_size", nearest="(1, 2, 2)")
    for name, wanted in (("qk_norm", "rms_norm_across_heads"), ("freq_dim", 256)):
        if config.get(name, wanted) != wanted:
            raise UserError(f"must be {wanted}, but got {shown(config[name])}", field=name)
    c, hidden = (
        size_in(config, "num_attention_heads") * size_in(config, "attention_head_dim"),
        size_in(config, "ffn_dim"),
    )
    costs = Crossed(
        width=c,
        num_blocks=size_in(config, "num_layers"),
        text_tokens=optional_size(config, "text_tokens", default=CAPTION_TOKENS),
        text_channels=size_in(config, "text_dim"),
        mlp_macs=2 * c * hidden,
        mlp_params=2 * c * hidden + hidden + c,
        norms_heads=True,
        more_params=2 * c if config.get("cross_attn_norm", True) else 0,
    )
    side = size_in({"patch_size": patch[1]}, "patch_size")
    return TransformerShape(
        **costs.shape(patch=side**2, channels=(channels, channels)),
        grid=_grid(config.get("sample_size") or (SIZE_704P if channels == 48 else SIZE_480P), patch=side),
        patch_size=side,
        in_channels=channels,
        out_channels=channels,
        has_text_mask=False,
        is_video=True,
    )


def _grid(size: Any, *, patch: int) -> TokenGrid:
    sides = list(size) if isinstance(size, list | tuple) else []
    are_sides = all(isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= MOST for side in sides)
    if len(sides) != 3 or not are_sides or sides[1] % patch or sides[2] % patch:
        raise UserError(
            f"must be [frames, height, width] of a video in latents, height and width in multiples of {patch}, but got "
            f"{shown(size)}",
            field="sample_size",
            nearest=list(SIZE_480P),
        )
    return TokenGrid(frames=sides[0], height=sides[1] // patch, width=sides[2] // patch)


_PUBLISHED: Mapping[str, Any] = {
    "_class_name": "WanTransformer3DModel",
    "added_kv_proj_dim": None,
    "attention_head_dim": 128,
    "cross_attn_norm": True,
    "eps": 1e-6,
    "ffn_dim": 8960,
    "freq_dim": 256,
    "image_dim": None,
    "in_channels": 16,
    "num_attention_heads": 12,
    "num_layers": 30,
    "out_channels": 16,
    "patch_size": [1, 2, 2],
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 1024,
    "text_dim": 4096,
}
_14B: Mapping[str, Any] = {"ffn_dim": 13824, "num_attention_heads": 40, "num_layers": 40}
_5B: Mapping[str, Any] = {
    "ffn_dim": 14336,
    "in_channels": 48,
    "num_attention_heads": 24,
    "out_channels": 48,
}

_KNOWN = {
    "Wan-AI/Wan2.1-T2V-1.3B-Diffusers": _PUBLISHED,
    "Wan-AI/Wan2.1-T2V-14B-Diffusers": {**_PUBLISHED, **_14B},
    "Wan-AI/Wan2.2-TI2V-5B-Diffusers": {**_PUBLISHED, **_5B},
}

WAN = register_architecture(
    Architecture(
        name="wan",
        adapter="flexsearch.models.backbones.wan:WanBackbone",
        shape_of=shape_of,
        recognises=lambda config: config.get("_class_name") == "WanTransformer3DModel",
        class_name="WanTransformer3DModel",
        scheduler="UniPCMultistepScheduler",
        task="text-to-video",
        pipeline="WanPipeline",
        has_own_encoders=True,
        drawn_with={"steps": 50, "guidance": 5.0},
        known=_KNOWN,
        schedulers={
            name: {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0} for name in _KNOWN
        },
        takes_sample_size=True,
        refused={
            f"Wan-AI/Wan2.2-{kind}-A14B-Diffusers": "has two transformers, for more and for less noise, and is not "
            "supported; Wan-AI/Wan2.1-T2V-14B-Diffusers has one"
            for kind in ("T2V", "I2V")
        },
    )
)
