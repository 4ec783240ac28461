"""One model call: the interpreter of a graph's route over the blocks of a base (arXiv 2412.06028).

Letters: B batch, N dense tokens, C width.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from flexsearch.models.backbones.backbone import Backbone, Opened
from flexsearch.models.backbones.call import COMPUTED, Call, Keeping, Module, Places, Taking
from flexsearch.models.backbones.modulation import Caption, Text
from flexsearch.models.roles import ROLE_MODULES
from flexsearch.models.tokens import Tokens, downsample
from flexsearch.schedule.gain import Gain
from flexsearch.schedule.role import Operation, Route
from flexsearch.schedule.shape import TokenGrid
from flexsearch.schedule.step import Graph

BlockOf = Callable[[Operation], Any]
"""Gives the base's block that computes an operation."""
WeightsOf = Callable[[str], nn.ModuleDict]
"""Gives the weights that a role adds, by block."""
Checkpoint = Callable[..., Tokens]
"""Calls a function so that it runs once more on the way back, in place of keeping what it computed."""


def run_graph(
    parts: Backbone,
    hidden_states: Tensor,
    timestep: Tensor,
    reused: tuple[Tensor, ...],
    text: tuple[Text | Caption, ...],
    condition: Mapping[str, Any],
    *,
    grid: TokenGrid,
    graph: Graph,
    block_of: BlockOf,
    weights_of: WeightsOf,
    checkpoint: Checkpoint | None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute a graph on a dense grid: the output, and what the graph leaves. Arguments as of `FlexDiT.forward`."""
    blocks = [operation.block for operation in graph.route]
    texts: Sequence[Text | Caption | None] = text or (parts.caption(condition, hidden_states.dtype),)
    caption = texts[0] if parts.rewrites_text and isinstance(texts[0], Caption) else None
    opened = parts.open(hidden_states, timestep, condition, caption, blocks)
    if opened.text is not None:
        texts = (opened.text,)
    tokens = Tokens(opened.tokens, None, None if opened.text is None else opened.text.tokens)
    run_all = partial(
        _run_all,
        opened=opened,
        texts=texts if len(texts) > 1 else (*texts,) * parts.shape.num_blocks,
        places=_places(parts, graph.route, opened, grid),
        gain=graph.gain,
        block_of=block_of,
        weights_of=weights_of,
        checkpoint=checkpoint,
    )
    below, inside, above = graph.parts
    tokens = run_all(below, tokens)
    entered = tokens
    left: tuple[Tensor, ...] = ()
    if graph.reuses == "residual":
        tokens = entered.moved_by(reused)
    elif graph.reuses == "modules":
        tokens = run_all(inside, tokens, module=Taking(reused))
    elif graph.leaves == "modules":
        keeping = Keeping()
        tokens = run_all(inside, tokens, module=keeping)
        left = tuple(keeping.outputs)
    else:
        tokens = run_all(inside, tokens)
        left = tokens.moved_from(entered) if graph.leaves == "residual" else ()
    tokens = run_all(above, tokens)
    return parts.head(tokens.dense, opened.conditioning, grid), left


def _places(parts: Backbone, route: Route, opened: Opened, grid: TokenGrid) -> dict[TokenGrid | None, Places]:
    """Give where the tokens of every density lie that the route has; None is the mean of all."""
    grids = {grid: None, **{one: None for operation in route for one in (operation.queries, operation.keys)}}
    weights: dict[TokenGrid | None, float] = {one: grid.num_tokens / one.num_tokens for one in grids}
    weights[None] = float(grid.num_tokens)
    one_token = TokenGrid(height=1, width=1)
    if opened.places is None:
        return {one: Places(one or one_token, None, weight) for one, weight in weights.items()}
    found: dict[TokenGrid | None, Places] = {}
    for one, weight in weights.items():
        if one is None:
            places = opened.places.mean(dim=1, keepdim=True)
        else:
            places = opened.places if one == grid else downsample(opened.places, grid, one)
        found[one] = Places(one or one_token, parts.rotary(places), weight)
    return found


def _run_all(
    route: Route,
    tokens: Tokens,
    *,
    opened: Opened,
    texts: Sequence[Text | Caption | None],
    places: Mapping[TokenGrid | None, Places],
    gain: Gain,
    block_of: BlockOf,
    weights_of: WeightsOf,
    checkpoint: Checkpoint | None,
    module: Module = COMPUTED,
) -> Tokens:
    for operation in route:
        if gain.stream != 1 and operation.block == gain.at:
            tokens = tokens.scaled(gain.stream)
        role = ROLE_MODULES[operation.role]
        call = Call(
            block=block_of(operation),
            conditioning=opened.conditioning.modulations[operation.block],
            text=texts[operation.block],
            operation=operation,
            queries=places[operation.queries],
            keys=places[operation.keys],
            mean=places[None],
            text_rotary=opened.text_rotary,
            weights=None if role.weights is None else weights_of(operation.role)[str(operation.block)],
            shared=weights_of(role.shares)[str(operation.block)] if role.shares else None,
            skip=gain.skip,
            module=module,
        )
        tokens = role.compute(tokens, call) if checkpoint is None else checkpoint(role.compute, tokens, call)
    return tokens
