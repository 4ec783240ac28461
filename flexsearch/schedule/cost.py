"""Multiply-accumulates and parameters, from shapes alone: the bricks that roles are costed with, and the model's ends.

The rule: every product inside a matrix multiplication or convolution counts once, for one row of a batch. Element-wise
work, norms, softmax, means and pooling count nothing. This equals half of what `torch.utils.flop_counter` reports.
Letters: n and m tokens, C width, A channels of the heads that are computed, S text tokens.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from functools import lru_cache

from flexsearch.schedule.role import ROLES, Amounts, Operation, OperationKey, Route
from flexsearch.schedule.shape import TokenGrid, TransformerShape
from flexsearch.schedule.width import attention_width, hidden_width

TIME_FREQUENCIES = 256
"""Sinusoidal features of the timestep."""


def attention_macs(queries: TokenGrid, keys: TokenGrid, shape: TransformerShape, amounts: Amounts = ()) -> int:
    """Projections and products of the attention of n `queries` to m `keys`.

    In space it stays inside a frame or, where one side has fewer frames, inside the window that its frame stands for.
    """
    n, m, c, a = queries.num_tokens, keys.num_tokens, shape.width, attention_width(amounts, shape)
    return 2 * n * c * a + 2 * m * c * a + 2 * n * m * a // min(queries.frames, keys.frames)


def uniform_attention_macs(means: int, shape: TransformerShape, amounts: Amounts = ()) -> int:
    """Value and output projection of `means` mean tokens."""
    return 2 * means * shape.width * attention_width(amounts, shape)


def rest_macs(tokens: int, shape: TransformerShape, amounts: Amounts = ()) -> int:
    """MLP of `tokens`, and the modulation of one block, which is whole."""
    return 2 * tokens * shape.width * hidden_width(amounts, shape) + modulation_macs(shape)


def modulation_macs(shape: TransformerShape) -> int:
    """The adaLN matrix of one block, which every role pays for: all blocks' are computed before the first one runs."""
    return 0 if shape.shares_modulation else 6 * shape.width**2


def text_macs(tokens: int, shape: TransformerShape) -> int:
    """Attention of `tokens` to the keys and values of the caption, which are there (`read_text_macs`)."""
    if not shape.text_tokens:
        return 0
    return 2 * tokens * shape.width**2 + 2 * tokens * shape.text_tokens * shape.width


def read_text_macs(shape: TransformerShape) -> int:
    """The caption's projection, and its keys and values in every block: once for all steps of an image."""
    if shape.blocks:
        return shape.read_text
    c = shape.width
    return shape.text_tokens * (shape.text_channels * c + c * c + shape.num_blocks * 2 * c * c)


def temporal_macs(grid: TokenGrid, shape: TransformerShape, amounts: Amounts = ()) -> int:
    """The temporal block after a spatial one, on `grid`; nothing for images."""
    if not shape.has_temporal_blocks:
        return 0
    n, a = grid.num_tokens, attention_width(amounts, shape)
    return rest_macs(n, shape, amounts) + 4 * n * shape.width * a + 2 * n * grid.frames * a


def block_macs(operation: Operation, shape: TransformerShape) -> int:
    """A block whose `queries` attend to its `keys`: attention, text, MLP, and the temporal block of a video.

    Of attention and MLP as much as the operation says; the text is attended to in full width.
    """
    queries, amounts = operation.queries, operation.amounts
    if shape.block is not None:
        return shape.block.macs(queries.num_tokens, operation.keys.num_tokens)
    macs = attention_macs(queries, operation.keys, shape, amounts) + rest_macs(queries.num_tokens, shape, amounts)
    return macs + text_macs(queries.num_tokens, shape) + temporal_macs(queries, shape, amounts)


def linear_params(shape: TransformerShape) -> int:
    """Parameters of a `C x C` linear map with bias."""
    return shape.width**2 + shape.width


def block_params(shape: TransformerShape) -> int:
    """Parameters of one block (of one pair, for video)."""
    if shape.block is not None:
        return shape.block.params
    c, linear = shape.width, linear_params(shape)
    modulation = 6 * c if shape.shares_modulation else 6 * linear
    one = 4 * linear + 2 * shape.mlp_ratio * c * c + (shape.mlp_ratio + 1) * c + modulation
    return shape.blocks_per_operation * one + (4 * linear if shape.text_tokens else 0)


@lru_cache(maxsize=1 << 16)
def _key_macs(key: OperationKey, block: int, shape: TransformerShape) -> int:
    role, queries, keys, amounts = key
    operation = Operation(role=role, block=block, queries=queries, keys=keys, amounts=amounts)
    return ROLES[role].macs(operation, shape.of_block(block))


def route_macs(route: Route, shape: TransformerShape, reused: Collection[int] = ()) -> int:
    """One model call on one row, its text read before: the operations of the route, and the model's ends.

    Args:
        route: what is computed.
        shape: sizes of the model.
        reused: blocks of the route whose attention and MLP outputs are taken from an earlier call.
    """
    alike = shape.alike
    nums = Counter((operation.key, alike[operation.block]) for operation in route if operation.block not in reused)
    macs = ends_macs(route, shape) + sum(num * _key_macs(key, block, shape) for (key, block), num in nums.items())
    return macs + sum(_reused_macs(operation, shape) for operation in route if operation.block in reused)


def _reused_macs(operation: Operation, shape: TransformerShape) -> int:
    """The gates of an operation, and what its role computes beside attention and MLP."""
    beside = ROLES[operation.role].macs_beside_modules(operation, shape)
    if shape.blocks:
        return shape.blocks[operation.block].modulation + beside
    return shape.blocks_per_operation * modulation_macs(shape) + beside


def ends_macs(route: Route, shape: TransformerShape) -> int:
    """Everything outside the blocks but the text: patch embedding, other conditions, final modulation and projection.

    Where every block has an embedder of its own, those of the route's blocks are computed, and the first for the head.
    """
    n = shape.grid.num_tokens
    if shape.blocks:
        return shape.ends.macs(n, n)
    num_embedders = 1 if shape.num_embedders == 1 else len({0, *(operation.block for operation in route)})
    c, area = shape.width, shape.patch_size**2
    macs = n * c * area * (shape.in_channels + shape.out_channels)
    macs += num_embedders * (TIME_FREQUENCIES * c + c * c)
    macs += 6 * c * c if shape.shares_modulation else 2 * c * c
    if shape.reads_size:  # height, width and aspect ratio, a third of the width each
        macs += 3 * (TIME_FREQUENCIES * (c // 3) + (c // 3) ** 2)
    return macs


def model_params(roles: Iterable[str], shape: TransformerShape) -> int:
    """Parameters that a model uses whose blocks play `roles`.

    The convention of the FlexDiT logs: one embedder, the fixed position embedding counted, and what a role adds or
    leaves unused.
    """
    if shape.blocks:
        own = shape.ends.params + sum(block.params for block in shape.blocks)
        return own + sum(ROLES[role].params(shape.of_block(block)) for block, role in enumerate(roles))
    n, c, area, linear = shape.grid.height * shape.grid.width, shape.width, shape.patch_size**2, linear_params(shape)
    classes = (shape.num_classes + 1) * c if shape.num_classes else 0
    embedders = shape.num_embedders * (TIME_FREQUENCIES * c + c + linear + classes)
    if shape.text_tokens:
        embedders += shape.text_channels * c + c + linear
    if shape.reads_size:
        third = c // 3
        embedders += 2 * (TIME_FREQUENCIES * third + third + third * third + third)
    patches = area * shape.in_channels * c + c + n * c
    final = 6 * linear + 2 * c if shape.shares_modulation else 2 * linear
    head = final + (c + 1) * area * shape.out_channels
    changed = sum(ROLES[role].params(shape.of_block(block)) for block, role in enumerate(roles))
    return shape.num_blocks * block_params(shape) + embedders + patches + head + changed
