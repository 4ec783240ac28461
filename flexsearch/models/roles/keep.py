"""The roles of the family `keep`: a static number of tokens, chosen by their content, runs; the others pass unchanged.

A token's score is `w . LN(x)` and its detail, the squared distance to the mean of its 3 x 3 neighbours, standardised
over its frame. `w` starts at 0: the tokens of most detail are kept, and the gate `2 sigmoid(w . LN(x))` on what they
receive is 1. Gradients reach `w` through the gate (DiffCR, arXiv 2412.16822). No number depends on another image.
Letters: B batch, F frames, N tokens in all, n tokens of a frame, k of them that are kept, C width.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flexsearch.models.backbones.call import Call
from flexsearch.models.roles.role_module import RoleModule, register_role_module
from flexsearch.models.tokens import Tokens
from flexsearch.schedule.families.keep import KEEP, KEEP_MLP, kept_grid
from flexsearch.schedule.shape import TokenGrid, TransformerShape


class Router(nn.Module):
    """The vector of the score."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, tokens: Tensor, grid: TokenGrid, kept: int) -> tuple[Tensor, Tensor]:
        """(B, N, C) to the places of the tokens that are kept, `kept` of each frame, rising, and their gates.

        Returns:
            (B, F * k, 1) places, and (B, F * k, 1) gates.
        """
        logits = self.score(F.layer_norm(tokens, tokens.shape[-1:])).squeeze(-1).unflatten(1, (grid.frames, -1))
        score = logits.detach() + _detail(tokens.detach(), grid)  # (B, F, n)
        chosen = score.topk(kept, dim=-1).indices.sort(dim=-1).values
        first = torch.arange(grid.frames, device=tokens.device)[:, None] * (grid.height * grid.width)
        gates = 2 * logits.gather(-1, chosen).sigmoid()
        return (chosen + first).flatten(1)[..., None], gates.flatten(1)[..., None]


def _detail(tokens: Tensor, grid: TokenGrid) -> Tensor:
    """(B, F, n) how much tokens differ from their neighbours, standardised."""
    maps = tokens.unflatten(1, (grid.frames, grid.height, grid.width)).flatten(0, 1).movedim(-1, 1)  # (B * F, C, h, w)
    means = F.avg_pool2d(maps, kernel_size=3, stride=1, padding=1, count_include_pad=False)
    detail = (maps - means).float().square().sum(dim=1).flatten(1)  # (B * F, n)
    mean, spread = detail.mean(dim=1, keepdim=True), detail.std(dim=1, keepdim=True, correction=0)
    by_frame: Tensor = ((detail - mean) / (spread + 1e-6)).unflatten(0, (-1, grid.frames))
    return by_frame.to(tokens.dtype)


class _Kept:
    """The tokens that one block keeps, chosen when the first of its modules asks: one that reuses asks for none."""

    def __init__(self, tokens: Tensor, call: Call) -> None:
        self._tokens, self._call = tokens, call
        self._chosen: tuple[Tensor, Tensor] | None = None

    def __call__(self) -> tuple[Tensor, Tensor]:
        if self._chosen is None:
            operation = self._call.operation
            self._chosen = self._call.weights(self._tokens, operation.queries, kept_grid(operation).width)
        return self._chosen

    def rows(self, tokens: Tensor) -> Tensor:
        """(B, F * k, C) the tokens that are kept, of (B, N, C)."""
        places, _ = self()
        return tokens.gather(1, places.expand(-1, -1, tokens.shape[-1]))

    def spread(self, rows: Tensor, *, like: Tensor, is_gated: bool = True) -> Tensor:
        """(B, N, C) rows (B, F * k, C) at their places, with their gates; 0 elsewhere."""
        places, gates = self()
        values = gates * rows if is_gated else rows
        return torch.zeros_like(like).scatter(1, places.expand_as(values), values.to(like.dtype))


def _block(tokens: Tokens, call: Call) -> Tokens:
    """The block among the tokens that are kept."""
    own, *others = call.block.calls(call)
    block, modulation, grid = own.block, own.conditioning, kept_grid(call.operation)
    dense = block.enter(tokens.dense, call.operation)
    kept = _Kept(dense, call)

    def attend() -> Tensor:
        normed = block.normed(kept.rows(dense), modulation)
        return kept.spread(block.attend(normed, normed, query_grid=grid, key_grid=grid), like=dense)

    mixed = modulation.gate_mixer * call.module(attend) + dense
    return _finished(mixed, kept, own, others, reads_text=kept)


def _mlp(tokens: Tokens, call: Call) -> Tokens:
    """Attention of all tokens, and the MLP of those that are kept."""
    own, *others = call.block.calls(call)
    block, modulation, grid = own.block, own.conditioning, call.operation.queries
    dense = block.enter(tokens.dense, call.operation)

    def attend() -> Tensor:
        normed = block.normed(dense, modulation)
        attended: Tensor = block.attend(normed, normed, query_grid=grid, key_grid=grid)
        return attended

    mixed = modulation.gate_mixer * call.module(attend) + dense
    return _finished(mixed, _Kept(dense, call), own, others, reads_text=None)


def _finished(tokens: Tensor, kept: _Kept, own: Call, others: Sequence[Call], *, reads_text: _Kept | None) -> Tokens:
    """The rest of the block: text attention, of the tokens that read the text, and the MLP of those that are kept; then
    the blocks after it, on all tokens."""
    block, modulation = own.block, own.conditioning
    if own.text is not None and block.reads_text:
        attended = partial(block.attend_to, text=own.text)
        tokens = own.module(_on(tokens, attended, reads_text, is_gated=False)) + tokens

    def inside(rows: Tensor) -> Tensor:
        normed = block.norm_mlp(rows) * (1 + modulation.scale_mlp) + modulation.shift_mlp
        moved: Tensor = block.mlp(normed, kept_grid(own.operation))
        return moved

    moved = own.module(_on(tokens, inside, kept))
    tokens = modulation.gate_mlp * moved + tokens
    for one in others:
        tokens, _ = one.run(tokens, tokens, None)
    return Tokens(tokens)


def _on(
    tokens: Tensor, compute: Callable[[Tensor], Tensor], kept: _Kept | None, *, is_gated: bool = True
) -> Callable[[], Tensor]:
    """A module's output on the tokens that are kept, or on all."""

    def output() -> Tensor:
        if kept is None:
            return compute(tokens)
        return kept.spread(compute(kept.rows(tokens)), like=tokens, is_gated=is_gated)

    return output


def _weights(shape: TransformerShape) -> Router:
    return Router(shape.width)


register_role_module(RoleModule(role=KEEP.name, compute=_block, weights=_weights))
register_role_module(RoleModule(role=KEEP_MLP.name, compute=_mlp, weights=_weights))
