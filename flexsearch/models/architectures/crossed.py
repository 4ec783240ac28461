"""Say what models cost whose blocks attend to image tokens, then to a caption that no block rewrites, from sizes alone.

SANA and Wan; one modulation serves all blocks, shifted by a table per block. Letters: S text tokens, C width, n tokens
that attend, m that are attended to.
"""

from dataclasses import dataclass
from typing import Any

from flexsearch.models.architectures.linear import embedder_macs, embedder_params, linear_params
from flexsearch.schedule.cost import TIME_FREQUENCIES
from flexsearch.schedule.shape import BlockCost


@dataclass(frozen=True, kw_only=True)
class Crossed:
    """Sizes of such a model.

    Attributes:
        width: C.
        num_blocks: of its blocks.
        text_tokens: S, padding included.
        text_channels: channels of a caption's embedding.
        mlp_macs: of one token.
        mlp_params: of a block.
        linear_head: channels of a head of linear attention; 0 for softmax attention.
        has_bias: whether the projections to queries, keys and values of image tokens add one.
        norms_heads: whether queries and keys of both attentions pass a norm with C scales.
        more_params: of a block, beside attention, MLP and modulation.
    """

    width: int
    num_blocks: int
    text_tokens: int
    text_channels: int
    mlp_macs: int
    mlp_params: int
    linear_head: int = 0
    has_bias: bool = True
    norms_heads: bool = False
    more_params: int = 0

    def shape(self, *, patch: int, channels: tuple[int, int], ends_params: int = 0) -> dict[str, Any]:
        """Give the arguments of `TransformerShape` that say what the model costs.

        Args:
            patch: values of one channel in a token.
            channels: of the input and of the output.
            ends_params: outside the blocks, beside embeddings and head.
        """
        c, s, (inputs, outputs) = self.width, self.text_tokens, channels
        ends = BlockCost(
            fixed=embedder_macs(TIME_FREQUENCIES, c) + 6 * c * c,
            per_query=c * patch * (inputs + outputs),
            params=linear_params(patch * inputs, c)
            + embedder_params(TIME_FREQUENCIES, c)
            + linear_params(c, 6 * c)
            + embedder_params(self.text_channels, c)
            + linear_params(c, patch * outputs)
            + 2 * c
            + ends_params,
        )
        return {
            "num_blocks": self.num_blocks,
            "width": c,
            "num_classes": 0,
            "text_tokens": s,
            "text_channels": self.text_channels,
            "shares_modulation": True,
            "blocks": (self._block(),) * self.num_blocks,
            "ends": ends,
            "has_own_attention": not self.linear_head,
            "read_text": s * embedder_macs(self.text_channels, c) + self.num_blocks * 2 * s * c * c,
        }

    def _block(self) -> BlockCost:
        """Linear attention sums products of keys and values, and keys, and multiplies queries by the sums."""
        c, s = self.width, self.text_tokens
        rest = 2 * c * c + 2 * s * c + self.mlp_macs  # attention to the text, whose keys and values are there, and MLP
        sums = c * (self.linear_head + 1) if self.linear_head else 0
        norms = 2 * c if self.norms_heads else 0
        scores = 2 * c * c + (2 * c if self.has_bias else 0) + norms  # what decides weights alone
        values = c * c + (c if self.has_bias else 0) + linear_params(c, c)
        text = 4 * linear_params(c, c) + norms
        return BlockCost(
            per_query=2 * c * c + sums + rest,
            per_key=2 * c * c + sums,
            per_pair=0 if self.linear_head else 2 * c,
            pool_fixed=2 * c * c,
            pool_per_query=rest,
            params=scores + values + text + self.mlp_params + 6 * c + self.more_params,
            pool_params=scores,
        )
