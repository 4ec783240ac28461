"""Say what models with joint attention cost (`flexsearch.models.backbones.joint`), from sizes alone.

Letters: S text tokens, C width.
"""

from collections.abc import Sequence
from typing import Any

from flexsearch.models.architectures.linear import embedder_macs, embedder_params, linear_params
from flexsearch.schedule.shape import BlockCost


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


def single_stream(width: int, others: int, *, per_token: int, modulation: int, params: int) -> BlockCost:
    """Give the cost of a block that reads text and image tokens as one sequence.

    Args:
        width: C.
        others: tokens in the sequence beside the image's.
        per_token: MACs of queries, MLP and what projects both out.
        modulation: MACs.
        params: of the block.
    """
    c, s, rest = width, others, 2 * others * width
    fixed = modulation + s * (per_token + 2 * c * c)
    return BlockCost(
        fixed=fixed + 2 * s * s * c,
        per_query=per_token + rest,
        per_key=2 * c * c + rest,
        per_pair=2 * c,
        pool_fixed=fixed + 2 * c * c + 2 * (s + 1) * s * c,
        pool_per_query=per_token + 2 * (s + 1) * c,
        modulation=modulation,
        params=params,
    )


def joint_costs(
    width: int,
    blocks: Sequence[BlockCost],
    *,
    text: tuple[int, int],
    channels: tuple[int, int],
    embedders: Sequence[int],
    more_params: int = 0,
) -> dict[str, Any]:
    """Give the arguments of `TransformerShape` that say what a model costs that reads projected text, and whose head
    has adaLN's shift and scale.

    Args:
        width: C.
        blocks: of the model.
        text: S, padding included, and the channels of a caption's embedding.
        channels: values of a token that come in and that go out.
        embedders: channels of every vector that is embedded beside the text: of times, of pooled captions.
        more_params: outside the blocks, beside embeddings and head.
    """
    c, (tokens, text_channels), (inputs, outputs) = width, text, channels
    return {
        "num_blocks": len(blocks),
        "width": c,
        "num_classes": 0,
        "text_tokens": tokens,
        "text_channels": text_channels,
        "blocks": tuple(blocks),
        "ends": BlockCost(
            fixed=sum(embedder_macs(one, c) for one in embedders) + 2 * c * c,
            per_query=c * (inputs + outputs),
            params=linear_params(inputs, c)
            + sum(embedder_params(one, c) for one in embedders)
            + linear_params(text_channels, c)
            + linear_params(c, 2 * c)
            + linear_params(c, outputs)
            + more_params,
        ),
        "read_text": tokens * text_channels * c,
    }
