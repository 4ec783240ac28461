"""The roles of a sparse-dense token module (FlexDiT, arXiv 2412.06028, section 3.2).

Letters: B batch, N dense tokens, M sparse tokens, C width.
"""

from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from flexsearch.models.backbones.call import Call
from flexsearch.models.resample import Resampler
from flexsearch.models.roles.role_module import RoleModule, register_role_module
from flexsearch.models.tokens import Tokens, downsample, upsample
from flexsearch.schedule.families.sdtm import (
    MERGE,
    MERGE_LEARNED,
    RECOVER,
    RECOVER_BILINEAR,
    RECOVER_LEARNED,
    SPARSE,
)
from flexsearch.schedule.shape import TokenGrid, TransformerShape


class Upsample(Protocol):
    """Gives (B, N, C) dense values of (B, M, C) sparse ones."""

    def __call__(self, tokens: Tensor, sparse_grid: TokenGrid, grid: TokenGrid) -> Tensor: ...


class Merge(nn.Module):
    """The new weights of a module: `Up(W1 sparse) + b1 + W2 dense + b2`.

    Starts as the identity on the dense tokens (W1 = 0, W2 = I). W1 runs before the upsampling, which is exact and costs
    M instead of N products.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sparse = nn.Linear(width, width)
        self.dense = nn.Linear(width, width)
        with torch.no_grad():
            self.sparse.weight.zero_()
            self.dense.weight.copy_(torch.eye(width))
            self.sparse.bias.zero_()
            self.dense.bias.zero_()

    def forward(
        self,
        sparse: Tensor,
        dense: Tensor,
        *,
        sparse_grid: TokenGrid,
        grid: TokenGrid,
        skip: float = 1.0,
        up: Upsample = upsample,
    ) -> Tensor:
        """(B, M, C) sparse and (B, N, C) dense tokens, times `skip`, to (B, N, C) merged ones."""
        kept = self.dense(dense)
        kept = kept if skip == 1 else skip * kept
        merged: Tensor = up(self.sparse(sparse), sparse_grid, grid) + kept  # (B, N, C)
        return merged


def _merge(tokens: Tokens, call: Call) -> Tokens:
    """Sparse token generation: averaged tokens, or those of the merge before, attend to the dense ones."""
    dense, sparse, context = tokens
    sparse = downsample(dense, call.operation.keys, call.operation.queries) if sparse is None else sparse
    return Tokens(dense, *call.run(sparse, dense, context))


def _merge_learned(tokens: Tokens, call: Call) -> Tokens:
    """Sparse token generation from tokens that are gathered as was learned."""
    dense, sparse, context = tokens
    sparse = call.weights.down(dense, call.operation.keys, call.operation.queries) if sparse is None else sparse
    return Tokens(dense, *call.run(sparse, dense, context))


def _sparse(tokens: Tokens, call: Call) -> Tokens:
    """The base's block on the sparse tokens; the dense ones wait."""
    assert tokens.sparse is not None, "it follows a merge"
    return Tokens(tokens.dense, *call.run(tokens.sparse, tokens.sparse, tokens.context))


def _recover(tokens: Tokens, call: Call) -> Tokens:
    """Dense token recovery: merged dense tokens attend to the sparse ones. A skip of 1 multiplies nothing."""
    return _recovered(tokens, call, call.weights, upsample)


def _recover_bilinear(tokens: Tokens, call: Call) -> Tokens:
    """The same, from what is linearly between the sparse tokens."""
    return _recovered(tokens, call, call.shared, partial(upsample, mode="bilinear"))


def _recover_learned(tokens: Tokens, call: Call) -> Tokens:
    """The same, from sparse tokens that are spread as was learned."""
    return _recovered(tokens, call, call.shared, partial(call.weights.up, sparse=tokens.sparse))


def _recovered(tokens: Tokens, call: Call, merge: Merge, up: Upsample) -> Tokens:
    dense, sparse, context = tokens
    assert sparse is not None, "it follows a merge"
    merged = merge(sparse, dense, sparse_grid=call.operation.keys, grid=call.operation.queries, skip=call.skip, up=up)
    moved, context = call.run(merged, sparse, context)
    return Tokens(moved, None, context)


def _weights(shape: TransformerShape) -> Merge:
    return Merge(shape.width)


def _resampler(shape: TransformerShape) -> Resampler:
    return Resampler(shape.width)


register_role_module(RoleModule(role=MERGE.name, compute=_merge))
register_role_module(RoleModule(role=SPARSE.name, compute=_sparse))
register_role_module(RoleModule(role=RECOVER.name, compute=_recover, weights=_weights, collection="merges"))
register_role_module(RoleModule(role=MERGE_LEARNED.name, compute=_merge_learned, weights=_resampler))
register_role_module(RoleModule(role=RECOVER_BILINEAR.name, compute=_recover_bilinear, shares=RECOVER.name))
register_role_module(
    RoleModule(role=RECOVER_LEARNED.name, compute=_recover_learned, weights=_resampler, shares=RECOVER.name)
)
