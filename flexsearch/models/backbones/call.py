"""Say what a block of a schedule is given beside its tokens. Letters: B batch, n tokens, S text tokens, C width."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch.nn.functional as F
from torch import Tensor

from flexsearch.models.backbones.modulation import Caption, Text
from flexsearch.schedule.role import Operation
from flexsearch.schedule.shape import TokenGrid

Pair = tuple[Tensor, Tensor]
Read = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Gives (B, heads, n, D) what queries (B, heads, n, D) read from keys and values (B, heads, m, D)."""


class Module(Protocol):
    """Gives the output of a module of a block (attention, text attention, MLP), before its gate, from what computes
    it."""

    def __call__(self, compute: Callable[[], Tensor]) -> Tensor:
        """Give one output."""

    def pair(self, compute: Callable[[], Pair]) -> Pair:
        """Give the outputs of a joint attention: of image tokens and of text tokens."""


class Computed:
    """Compute modules' outputs."""

    def __call__(self, compute: Callable[[], Tensor]) -> Tensor:
        return compute()

    def pair(self, compute: Callable[[], Pair]) -> Pair:
        return compute()


COMPUTED = Computed()


class Keeping:
    """Compute modules' outputs and keep them, in the order of the blocks."""

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []

    def __call__(self, compute: Callable[[], Tensor]) -> Tensor:
        self.outputs.append(compute())
        return self.outputs[-1]

    def pair(self, compute: Callable[[], Pair]) -> Pair:
        found = compute()
        self.outputs += found
        return found


class Taking:
    """Take modules' outputs of an earlier call, in the order of the blocks, and compute none."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self._outputs = list(outputs)

    def __call__(self, compute: Callable[[], Tensor]) -> Tensor:
        return self._outputs.pop(0)

    def pair(self, compute: Callable[[], Pair]) -> Pair:
        return self._outputs.pop(0), self._outputs.pop(0)


class Places(NamedTuple):
    """Where image tokens of one density lie.

    Attributes:
        grid: that they lie on.
        rotary: the base's rotary table of their places; None where it has none.
        weight: dense tokens that one of them stands for. Where text and image share a softmax, as many keys would have
            answered in place of one: its logit gets the logarithm.
    """

    grid: TokenGrid
    rotary: Any = None
    weight: float = 1.0


class Call(NamedTuple):
    """One block of a schedule in one model call, as its role computes it.

    Attributes:
        block: the base's, of `protocol.Block`.
        conditioning: what the adapter's `Conditioning` has for this block.
        text: what the block reads of a caption that no block rewrites; of a caption that blocks rewrite, as it entered.
        operation: what the block does.
        queries: places of the tokens that attend.
        keys: places of the tokens that are attended to.
        mean: the one place of the mean token, which a pool block attends to.
        text_rotary: the rotary table of text tokens that attend.
        weights: the module that the role brings, or None.
        shared: the module that another role brings to this block and this one uses too, or None.
        skip: factor on dense tokens that waited, where sparse tokens are merged into them.
        module: gives the output of a module.
        read: how image tokens read image tokens, in blocks of a base where they attend to these alone.
    """

    block: Any
    conditioning: Any
    text: Text | Caption | None
    operation: Operation
    queries: Places
    keys: Places
    mean: Places
    text_rotary: Any = None
    weights: Any = None
    shared: Any = None
    skip: float = 1.0
    module: Module = COMPUTED
    read: Read = F.scaled_dot_product_attention

    def run(self, queries: Tensor, keys: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(B, n, C) what the base's block makes of `queries`, and (B, S, C) of text tokens, where it rewrites them.

        Args:
            queries: (B, n, C) tokens that attend and leave the block.
            keys: (B, m, C) tokens that are attended to, the very same tensor where they are the same; None attends
                with uniform weights.
            context: (B, S, C) text tokens of a base that rewrites them.
        """
        moved: tuple[Tensor, Tensor | None] = self.block.run(queries, keys, context, self)
        return moved
