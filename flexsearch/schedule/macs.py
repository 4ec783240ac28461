"""Multiply-accumulates and parameters of a plan, from shapes alone.

The rule: every product inside a matrix multiplication or convolution counts once, for one sample and one forward pass
(without guidance). Element-wise work, norms, softmax, means and pooling count nothing. This equals half of what
`torch.utils.flop_counter` reports. Letters: n tokens, C width; `A = 6 C^2` is a block's adaLN.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean

from flexsearch.schedule.grid import TokenGrid
from flexsearch.schedule.plan import Operation, Plan

TIME_FREQUENCIES = 256  # sinusoidal features of the timestep


@dataclass(frozen=True, kw_only=True)
class TransformerShape:
    """The sizes of a DiT that decide its cost.

    Attributes:
        num_blocks: transformer blocks.
        width: channels of a token.
        grid: dense tokens.
        patch_size: pixels or latents along a patch's side.
        in_channels: channels of the data.
        out_channels: channels of the output (twice the data's with learned variance).
        num_classes: class labels, the "no label" not counted.
        mlp_ratio: hidden width of the MLP over `width`.
        num_embedders: timestep and class embedders that are computed; 1 where all blocks share one.
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


def operation_macs(operation: Operation, shape: TransformerShape) -> int:
    """MACs of one block playing one role."""
    queries, keys, c = operation.queries.num_tokens, operation.keys.num_tokens, shape.width
    modulation = 6 * c * c
    mlp = 2 * shape.mlp_ratio * queries * c * c
    if operation.kind == "pool":  # value and output projection of one mean token
        return 2 * c * c + mlp + modulation
    attention = 2 * queries * c * c + 2 * keys * c * c + 2 * queries * keys * c
    if operation.kind == "recover":  # W1 on the sparse tokens (before upsampling), W2 on the dense ones
        attention += keys * c * c + queries * c * c
    return attention + mlp + modulation


def authors_operation_macs(operation: Operation, shape: TransformerShape) -> int:
    """MACs of one block as the authors' code runs it, to compare with the paper's table.

    Their pool block projects every token and multiplies with an N x N matrix of ones; their recovery merges after
    upsampling. Both give the same numbers as ours for more work.
    """
    queries, keys, c = operation.queries.num_tokens, operation.keys.num_tokens, shape.width
    macs = operation_macs(operation, shape)
    if operation.kind == "pool":
        macs += 2 * (queries - 1) * c * c + queries * queries * c
    elif operation.kind == "recover":
        macs += (queries - keys) * c * c
    return macs


def ends_macs(shape: TransformerShape) -> int:
    """MACs outside the blocks: patch embedding, timestep embedding, final modulation and projection."""
    n, c, area = shape.grid.num_tokens, shape.width, shape.patch_size**2
    embedder = TIME_FREQUENCIES * c + c * c
    return n * c * area * (shape.in_channels + shape.out_channels) + shape.num_embedders * embedder + 2 * c * c


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
    n, c, area = shape.grid.num_tokens, shape.width, shape.patch_size**2
    linear = c * c + c
    block = 4 * linear + (2 * shape.mlp_ratio * c * c + (shape.mlp_ratio + 1) * c) + 6 * linear
    embedders = shape.num_embedders * (TIME_FREQUENCIES * c + c + linear + (shape.num_classes + 1) * c)
    patches = area * shape.in_channels * c + c + n * c
    head = 2 * linear + (c + 1) * area * shape.out_channels
    changed = 2 * linear * (len(plan.blocks("recover")) - len(plan.blocks("pool")))
    return shape.num_blocks * block + embedders + patches + head + changed
