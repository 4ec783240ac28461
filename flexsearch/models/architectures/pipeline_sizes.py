"""Sizes that diffusers' configurations do not say, but of what a pipeline draws; to flexsearch they may say them."""

from collections.abc import Mapping
from typing import Any

from flexsearch.errors import UserError, shown
from flexsearch.models.architectures.architecture import size_in
from flexsearch.schedule.shape import TokenGrid

PIPELINE_SIDE = 128
"""Latent pixels of a side of what the pipelines of FLUX, Qwen-Image and Z-Image draw: 1024 px."""


def optional_size(config: Mapping[str, Any], name: str, *, default: int) -> int:
    """Give a size that a configuration may say and diffusers' classes do not know: of the pipeline that draws."""
    return default if config.get(name) is None else size_in(config, name)


def latent_sides(config: Mapping[str, Any], *, multiple: int) -> tuple[int, int]:
    """Give height and width of latents, of a configuration that may say them as `sample_size`, a side or two.

    Args:
        config: of a model.
        multiple: of which both must be.

    Raises:
        UserError: they are no sizes.
    """
    said = config.get("sample_size")
    sides = said if isinstance(said, list | tuple) else [PIPELINE_SIDE if said is None else said] * 2
    if len(sides) != 2:
        raise UserError(f"must be one side or height and width, but got {shown(said)}", field="sample_size")
    height, width = (size_in({"sample_size": side}, "sample_size") for side in sides)
    if height % multiple or width % multiple:
        raise UserError(f"must be multiples of {multiple}, but got {shown(said)}", field="sample_size")
    return height, width


def packed_sizes(config: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Give the arguments of `TransformerShape` of a model that reads latents packed two by two, and the channels of a
    packed token.

    Raises:
        UserError: a size is none, or what is read cannot be packed.
    """
    packed = size_in(config, "in_channels")
    if packed % 4:
        raise UserError(f"must be a multiple of 4, but got {packed}", field="in_channels")
    height, width = latent_sides(config, multiple=2)
    grid = TokenGrid(height=height // 2, width=width // 2)
    return {"grid": grid, "patch_size": 2, "in_channels": packed // 4, "out_channels": packed // 4}, packed
