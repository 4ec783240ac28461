"""Z-Image (2025, arXiv 2511.22699): diffusers' `ZImageTransformer2DModel`. Letters: C width, S text tokens."""

from collections.abc import Mapping
from typing import Any

from flexsearch.errors import UserError, shown
from flexsearch.models.architectures.architecture import Architecture, register_architecture, size_in
from flexsearch.models.architectures.joint import single_stream
from flexsearch.models.architectures.linear import linear_params
from flexsearch.models.architectures.pipeline_sizes import latent_sides, optional_size
from flexsearch.schedule.cost import TIME_FREQUENCIES
from flexsearch.schedule.shape import BlockCost, TokenGrid, TransformerShape

MULTIPLE = 32
"""Of tokens, to which the base pads image and text."""
_TIME_CHANNELS, _TIME_HIDDEN = 256, 1024
TEXT_TOKENS = 512
"""As many as diffusers' pipeline takes at most."""


def shape_of(config: Mapping[str, Any]) -> TransformerShape:
    """Give the sizes of a model.

    Raises:
        UserError: it has several patch sizes, or reads images.
    """
    patches, frames = config.get("all_patch_size", (2,)), config.get("all_f_patch_size", (1,))
    if len(patches) != 1 or tuple(frames) != (1,):
        raise UserError(f"must be one, of images, but got {shown(patches)} and {shown(frames)}", field="all_patch_size")
    if config.get("siglip_feat_dim") is not None:
        raise UserError("must be absent: models that read images are not supported", field="siglip_feat_dim")
    c, channels, refiners = (size_in(config, name) for name in ("dim", "in_channels", "n_refiner_layers"))
    text, head = size_in(config, "cap_feat_dim"), c // size_in(config, "n_heads")
    (patch,) = patches
    height, width = latent_sides(config, multiple=patch)
    tokens = optional_size(config, "text_tokens", default=TEXT_TOKENS)
    grid = TokenGrid(height=height // patch, width=width // patch)
    padding, padded = -grid.num_tokens % MULTIPLE, tokens + -tokens % MULTIPLE
    time, pixels = min(c, _TIME_CHANNELS), patch * patch * channels

    refiner = _block(c, padding, head=head, qk_norm=bool(config.get("qk_norm", True)), time=time)
    block = _block(c, padding + padded, head=head, qk_norm=bool(config.get("qk_norm", True)), time=time)
    modulation = time * 4 * c
    of_text = _block(c, padded, head=head, qk_norm=True, time=time).fixed - modulation
    modulation_params = linear_params(time, 4 * c)
    ends = linear_params(pixels, c) + linear_params(c, pixels) + linear_params(time, c) + 2 * c
    ends += linear_params(TIME_FREQUENCIES, _TIME_HIDDEN) + linear_params(_TIME_HIDDEN, time)
    ends += text + linear_params(text, c) + refiners * (2 * refiner.params - modulation_params)
    return TransformerShape(
        grid=grid,
        patch_size=patch,
        in_channels=channels,
        out_channels=channels,
        num_blocks=size_in(config, "n_layers"),
        width=c,
        num_classes=0,
        text_tokens=tokens,
        text_channels=text,
        blocks=(block,) * size_in(config, "n_layers"),
        ends=BlockCost(
            fixed=TIME_FREQUENCIES * _TIME_HIDDEN + _TIME_HIDDEN * time + time * c + refiners * refiner.fixed,
            per_query=2 * c * pixels + refiners * refiner.per_query,
            per_key=refiners * refiner.per_key,
            per_pair=refiners * refiner.per_pair,
            params=ends,
        ),
        read_text=padded * text * c + refiners * of_text,
    )


def _block(width: int, others: int, *, head: int, qk_norm: bool, time: int) -> BlockCost:
    """Give the cost of a block in which `others` tokens, text and padding, are in the sequence with the image's."""
    c, modulation, hidden = width, time * 4 * width, int(width / 3 * 8)
    params = 4 * c * c + 3 * c * hidden + 4 * c + (2 * head if qk_norm else 0) + linear_params(time, 4 * c)
    per_token = 2 * c * c + 3 * c * hidden  # queries, projected out; gated MLP
    return single_stream(c, others, per_token=per_token, modulation=modulation, params=params)


_Z_IMAGE = {
    "_class_name": "ZImageTransformer2DModel",
    "all_f_patch_size": [1],
    "all_patch_size": [2],
    "axes_dims": [32, 48, 48],
    "axes_lens": [1536, 512, 512],
    "cap_feat_dim": 2560,
    "dim": 3840,
    "in_channels": 16,
    "n_heads": 30,
    "n_kv_heads": 30,
    "n_layers": 30,
    "n_refiner_layers": 2,
    "norm_eps": 1e-5,
    "qk_norm": True,
    "rope_theta": 256.0,
    "t_scale": 1000.0,
}

Z_IMAGE = register_architecture(
    Architecture(
        name="z_image",
        adapter="flexsearch.models.backbones.z_image:ZImageBackbone",
        shape_of=shape_of,
        recognises=lambda config: (
            config.get("_class_name") in ("ZImageTransformer2DModel", None) and "n_refiner_layers" in config
        ),
        class_name="ZImageTransformer2DModel",
        task="text-to-image",
        takes_sample_size=True,
        pipeline="ZImagePipeline",
        has_own_encoders=True,
        drawn_with={
            "steps": 50,
            "guidance": 5.0,
            "Tongyi-MAI/Z-Image-Turbo": {"steps": 9, "guidance": 1.0},
        },
        guided_call=lambda scale: {"guidance_scale": scale - 1},  # which its pipeline adds to 1
        schedulers={"Tongyi-MAI/Z-Image": {"shift": 6.0}, "Tongyi-MAI/Z-Image-Turbo": {"shift": 3.0}},
        known={"Tongyi-MAI/Z-Image": _Z_IMAGE, "Tongyi-MAI/Z-Image-Turbo": _Z_IMAGE},
        licences={"Tongyi-MAI/Z-Image": "apache-2.0", "Tongyi-MAI/Z-Image-Turbo": "apache-2.0"},
    )
)
