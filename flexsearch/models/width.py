"""The order of heads and hidden channels, of which a width keeps the first (`flexsearch.schedule.width`).

Made once, from the base's weights alone, and saved with the model: all widths share it, so that wider ones hold
narrower ones, and what is trained at one width serves all. Letters: L blocks, P transformer blocks in each, C width,
F hidden channels.

A head weighs what it can write into the tokens, the norm of `W_o W_v` of its channels; a hidden channel the product of
the norms of its row of the first matrix and its column of the second. A gate multiplies all of a block alike.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flexsearch.models.backbones.narrow import Kept
from flexsearch.schedule.role import Amounts
from flexsearch.schedule.shape import TransformerShape
from flexsearch.schedule.width import HEADS, HIDDEN, attention_width, hidden_width, num_heads


class WidthOrder(nn.Module):
    """The order of every transformer block.

    Attributes:
        attention: (L, P, C) channels of the attention, head after head, the heaviest first.
        hidden: (L, P, F) hidden channels of the MLP, the heaviest first.
    """

    attention: Tensor
    hidden: Tensor

    def __init__(self, attention: Tensor, hidden: Tensor) -> None:
        super().__init__()
        self.register_buffer("attention", attention)
        self.register_buffer("hidden", hidden)

    def narrowed(self, block: Any, *, place: int, amounts: Amounts, shape: TransformerShape) -> Any:
        """Give a block of a schedule with as many heads and hidden channels as amounts say.

        Args:
            block: of `TransformerBlock`s.
            place: its number.
            amounts: of an operation.
            shape: the base's sizes.
        """
        names = dict(amounts)
        attention, hidden = attention_width(amounts, shape), hidden_width(amounts, shape)
        parts = [
            one.narrowed(
                heads=num_heads(amounts, shape) if HEADS in names else None,
                attention=Kept(holder=self, name="attention", place=(place, part), num=attention),
                hidden=Kept(holder=self, name="hidden", place=(place, part), num=hidden) if HIDDEN in names else None,
            )
            for part, one in enumerate(block.parts)
        ]
        return block.of_parts(*parts)


@torch.no_grad()
def order_by_weights(blocks: Sequence[Any]) -> WidthOrder:
    """Make the order from the weights of diffusers' blocks."""
    parts = [[_orders(one.block) for one in block.parts] for block in blocks]
    attention, hidden = (
        torch.stack([torch.stack([one[place] for one in group]) for group in parts]) for place in (0, 1)
    )
    return WidthOrder(attention.int(), hidden.int())


def _orders(block: Any) -> tuple[Tensor, Tensor]:
    attention, first, second = block.attn1, block.ff.net[0].proj, block.ff.net[2]
    values = attention.to_v.weight.float().unflatten(0, (attention.heads, -1))  # (heads, D, C)
    outputs = attention.to_out[0].weight.float().unflatten(1, (attention.heads, -1)).transpose(0, 1)  # (heads, C, D)
    # |W_o W_v|^2 is the trace of (W_o^T W_o) (W_v W_v^T), of D x D matrices.
    written = (outputs.transpose(1, 2) @ outputs) * (values @ values.transpose(1, 2))
    heads = written.sum(dim=(1, 2)).argsort(descending=True, stable=True)
    size = attention.to_v.out_features // attention.heads
    channels = heads[:, None] * size + torch.arange(size, device=heads.device)
    weights = first.weight.float().square().sum(dim=1) * second.weight.float().square().sum(dim=0)
    return channels.flatten(), weights.argsort(descending=True, stable=True)
