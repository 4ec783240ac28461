"""Multiply-accumulates and parameters of a plan, from shapes alone.

The rule: every product inside a matrix multiplication or convolution counts once, for one sample and one forward pass
(without guidance). Element-wise work, norms, softmax, means and pooling count nothing. This equals half of what
`torch.utils.flop_counter` reports. Letters: n tokens, C width, S text tokens.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean

from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.plan import Operation, Plan
from flexsearch.schedule.roles import COSTS

TIME_FREQUENCIES = 256  # sinusoidal features of the timestep


@dataclass(frozen=True, kw_only=True)
class TransformerShape:
    """The sizes of a diffusion transformer that decide its cost.

    Attributes:
        num_blocks: transformer blocks; for video, pairs of a spatial and a temporal block.
        width: channels of a token.
        grid: dense tokens.
        patch_size: pixels or latents along a patch's side.
        in_channels: channels of the data.
        out_channels: channels of the output (twice the data's with learned variance).
        num_classes: class labels, the "no label" not counted; 0 for a model that reads text.
        mlp_ratio: hidden width of the MLP over `width`.
        num_embedders: timestep and class embedders that are computed; 1 where all blocks share one.
        text_tokens: tokens of a caption, padding included; 0 for a model that reads class labels.
        text_channels: channels of a caption's embedding.
        shares_modulation: adaLN-single, one modulation for all blocks and a table per block (PixArt-alpha, Latte).
        has_temporal_blocks: every spatial block is followed by a temporal one (Latte).
        reads_size: the image's size and aspect ratio are embedded beside the timestep (PixArt-alpha at 1024 px).
    """

    num_blocks: int
    width: int
    grid: TokenGrid
    patch_size: int
    in_channels: int
    out_channels: int
    num_classes: int
    mlp_ratio: int = 4
    num_embedders: int = 1
    text_tokens: int = 0
    text_channels: int = 0
    shares_modulation: bool = False
    has_temporal_blocks: bool = False
    reads_size: bool = False

    @property
    def sample_size(self) -> tuple[int, ...]:
        """Shape of one sample: (C, H, W), or (C, F, H, W) of a video."""
        frames = (self.grid.frames,) if self.has_temporal_blocks else ()
        return (self.in_channels, *frames, self.grid.height * self.patch_size, self.grid.width * self.patch_size)


def operation_macs(operation: Operation, shape: TransformerShape) -> int:
    """MACs of one block (of one pair, for video) playing one role."""
    if operation.kind in COSTS:
        return COSTS[operation.kind].macs(operation, shape)
    queries, keys, c = operation.queries, operation.keys, shape.width
    groups = min(queries.frames, keys.frames)  # attention in space stays inside a frame, or a window of frames
    n, m = queries.num_tokens, keys.num_tokens
    macs = rest_macs(n, shape) + _text_macs(n, shape)
    if operation.kind == "pool":  # value and output projection of one mean token per frame
        macs += 2 * queries.frames * c * c
    else:
        macs += 2 * n * c * c + 2 * m * c * c + 2 * n * m * c // groups
    if operation.kind == "recover":  # W1 on the sparse tokens (before upsampling), W2 on the dense ones
        macs += m * c * c + n * c * c
    if not shape.has_temporal_blocks:
        return macs
    if operation.kind == "pool":  # one mean token per place
        return macs + rest_macs(n, shape) + 2 * n // queries.frames * c * c
    return macs + rest_macs(n, shape) + 4 * n * c * c + 2 * n * queries.frames * c


def rest_macs(tokens: int, shape: TransformerShape) -> int:
    """MLP and modulation of one block."""
    return 2 * shape.mlp_ratio * tokens * shape.width**2 + modulation_macs(shape)


def modulation_macs(shape: TransformerShape) -> int:
    """The adaLN matrix of one block, which every role pays for: all blocks' are computed before the first one runs."""
    return 0 if shape.shares_modulation else 6 * shape.width**2


def _text_macs(tokens: int, shape: TransformerShape) -> int:
    """Cross-attention of `tokens` to the caption; keys and values are projected once per sample."""
    if not shape.text_tokens:
        return 0
    c, text = shape.width, shape.text_tokens
    return 2 * tokens * c * c + 2 * text * c * c + 2 * tokens * text * c


def authors_operation_macs(operation: Operation, shape: TransformerShape) -> int:
    """MACs of one block as the authors' code runs it, to compare with the paper's table.

    Their pool block projects every token and multiplies with an N x N matrix of ones; their recovery merges after
    upsampling. Both give the same numbers as ours for more work. There is no such code for video: it counts as ours.
    """
    queries, keys, c = operation.queries.num_tokens, operation.keys.num_tokens, shape.width
    macs = operation_macs(operation, shape)
    if shape.has_temporal_blocks:
        return macs
    if operation.kind == "pool":
        macs += 2 * (queries - 1) * c * c + queries * queries * c
    elif operation.kind == "recover":
        macs += (queries - keys) * c * c
    return macs


def ends_macs(shape: TransformerShape) -> int:
    """MACs outside the blocks: patch embedding, embedding of the conditions, final modulation and projection."""
    n, c, area = shape.grid.num_tokens, shape.width, shape.patch_size**2
    macs = n * c * area * (shape.in_channels + shape.out_channels)
    macs += shape.num_embedders * (TIME_FREQUENCIES * c + c * c)
    macs += shape.text_tokens * (shape.text_channels * c + c * c)
    macs += 6 * c * c if shape.shares_modulation else 2 * c * c
    if shape.reads_size:  # height, width and aspect ratio, a third of the width each
        macs += 3 * (TIME_FREQUENCIES * (c // 3) + (c // 3) ** 2)
    return macs


def plan_macs(
    plan: Plan,
    shape: TransformerShape,
    times: Iterable[float] | None = None,
    *,
    count: Callable[[Operation, TransformerShape], int] = operation_macs,
) -> float:
    """MACs of one forward pass, averaged over a sampler's `times`, or over uniform diffusion time if None.

    `count` is the cost of one block: `operation_macs` for what runs here, `authors_operation_macs` to compare with
    the paper.
    """
    per_stage = [ends_macs(shape) + sum(count(operation, shape) for operation in stage) for stage in plan.stages]
    if times is not None:
        return fmean(per_stage[plan.stage_of(time)] for time in times)
    edges = plan.timetable.edges
    return sum((high - low) * macs for low, high, macs in zip(edges[:-1], edges[1:], per_stage, strict=True))


def plan_params(plan: Plan, shape: TransformerShape) -> int:
    """Parameters that the plan uses.

    The convention of the FlexDiT logs: one embedder, the fixed position embedding counted, queries and keys of pool
    blocks left out, two `C x C` linear maps with bias for every recover block.
    """
    n, c, area = shape.grid.height * shape.grid.width, shape.width, shape.patch_size**2
    linear = c * c + c
    blocks_in_one = 2 if shape.has_temporal_blocks else 1
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
    changed = 2 * linear * (len(plan.blocks("recover")) - blocks_in_one * len(plan.blocks("pool")))
    changed -= sum(cost.unused_params(shape) * len(plan.blocks(role)) for role, cost in COSTS.items())
    return shape.num_blocks * block_params(shape) + embedders + patches + head + changed


def block_params(shape: TransformerShape) -> int:
    """Parameters of one block (of one pair, for video)."""
    c = shape.width
    linear = c * c + c
    modulation = 6 * c if shape.shares_modulation else 6 * linear
    one = 4 * linear + 2 * shape.mlp_ratio * c * c + (shape.mlp_ratio + 1) * c + modulation
    return (2 if shape.has_temporal_blocks else 1) * one + (4 * linear if shape.text_tokens else 0)
