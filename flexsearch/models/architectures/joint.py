"""What blocks with joint attention cost (`flexsearch.models.backbones.joint`), from sizes alone.

Letters: S text tokens, C width.
"""

from collections.abc import Mapping
from typing import Any

from flexsearch.errors import UserError
from flexsearch.models.architectures.architecture import size_in
from flexsearch.schedule.shape import BlockCost, TokenGrid

TIME_FREQUENCIES = 256


def linear_params(inputs: int, outputs: int) -> int:
    """Parameters of a linear map with bias."""
    return inputs * outputs + outputs


def embedder_macs(inputs: int, width: int) -> int:
    """MACs of diffusers' embedding by two linear maps of a vector, such as the timestep's frequencies."""
    return inputs * width + width * width


def embedder_params(inputs: int, width: int) -> int:
    """Its parameters."""
    return linear_params(inputs, width) + linear_params(width, width)


def double_stream(
    width: int, text_tokens: int, *, head: int = 0, passes_text_on: bool = True, has_second: bool = False
) -> BlockCost:
    """Give the cost of a block with a stream of text tokens and one of image tokens, MLPs four times as wide as C.

    Args:
        width: C.
        text_tokens: S, padding included.
        head: channels of a head whose queries and keys are normed; 0 for none.
        passes_text_on: whether text tokens leave the block. Else they are attended to, and attend, and are dropped.
        has_second: whether image tokens attend once more, to image tokens alone.
    """
    c, s, second = width, text_tokens, 1 if has_second else 0
    modulation = (6 + 3 * second) * c * c + (6 if passes_text_on else 2) * c * c
    of_text = s * c * c * ((4 + 8) if passes_text_on else 3)
    rest = 2 * s * c  # products with text, of a token that attends and of one that is attended to
    mlp, attention, norms = 8 * c * c + 5 * c, 4 * linear_params(c, c), 2 * head
    text_params = attention + mlp + norms if passes_text_on else 3 * linear_params(c, c) + norms
    modulation_params = modulation + modulation // c
    return BlockCost(
        fixed=modulation + of_text + 2 * s * s * c,
        per_query=(2 + 8 + 2 * second) * c * c + rest,
        per_key=(2 + 2 * second) * c * c + rest,
        per_pair=2 * c * (1 + second),
        pool_fixed=modulation + of_text + 2 * c * c * (1 + second) + 2 * (s + 1) * s * c,
        pool_per_query=(2 + 8) * c * c + 2 * (s + 1) * c,
        modulation=modulation,
        params=attention + mlp + norms + text_params + modulation_params + second * (attention + norms),
        pool_params=second * (2 * linear_params(c, c) + norms),
    )


def single_stream(width: int, text_tokens: int, *, head: int) -> BlockCost:
    """Give the cost of a block of FLUX whose attention and MLP, four times as wide as C, read text and image tokens as
    one sequence and are projected out together."""
    c, s = width, text_tokens
    per_token, rest = 10 * c * c, 2 * s * c  # queries, MLP, and both projected out
    return BlockCost(
        fixed=3 * c * c + s * (per_token + 2 * c * c) + 2 * s * s * c,
        per_query=per_token + rest,
        per_key=2 * c * c + rest,
        per_pair=2 * c,
        pool_fixed=3 * c * c + s * (per_token + 2 * c * c) + 2 * c * c + 2 * (s + 1) * s * c,
        pool_per_query=per_token + 2 * (s + 1) * c,
        modulation=3 * c * c,
        params=6 * linear_params(c, c) + linear_params(c, 4 * c) + linear_params(5 * c, c) + 2 * head,
    )


def optional_size(config: Mapping[str, Any], name: str, *, default: int) -> int:
    """Give a size that a configuration may say and diffusers' classes do not know: of the pipeline that draws."""
    return size_in(config, name) if name in config else default


def packed_sizes(config: Mapping[str, Any], *, default: int) -> tuple[dict[str, Any], int]:
    """Give the arguments of `TransformerShape` of a model that reads latents packed two by two, and the channels of a
    packed token.

    Args:
        config: of the model; may say `sample_size`, latent pixels of a side.
        default: for `sample_size`.

    Raises:
        UserError: a size is none, or what is read cannot be packed.
    """
    packed, side = size_in(config, "in_channels"), optional_size(config, "sample_size", default=default)
    if packed % 4:
        raise UserError(f"must be a multiple of 4, but got {packed}", field="in_channels")
    if side % 2:
        raise UserError(f"must be even, but got {side}", field="sample_size", nearest=side + 1)
    grid = TokenGrid(height=side // 2, width=side // 2)
    return {"grid": grid, "patch_size": 2, "in_channels": packed // 4, "out_channels": packed // 4}, packed
