"""The roles of a sparse-dense token module (FlexDiT, arXiv 2412.06028, section 3.2).

Letters: B batch, N dense tokens, M sparse tokens, C width.
"""

import torch
from torch import Tensor, nn

from flexsearch.models.roles.dense import run_blocks, run_others
from flexsearch.models.roles.role_module import Call, RoleModule, register_role_module
from flexsearch.models.tokens import Tokens, downsample, upsample
from flexsearch.schedule.families.sdtm import MERGE, RECOVER, SPARSE
from flexsearch.schedule.shape import TokenGrid, TransformerShape


class Merge(nn.Module):
    """The only new weights of a module: `Up(W1 sparse) + b1 + W2 dense + b2`.

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
        self, sparse: Tensor, dense: Tensor, *, sparse_grid: TokenGrid, grid: TokenGrid, skip: float = 1.0
    ) -> Tensor:
        """(B, M, C) sparse and (B, N, C) dense tokens, times `skip`, to (B, N, C) merged ones."""
        kept = self.dense(dense)
        kept = kept if skip == 1 else skip * kept
        merged: Tensor = upsample(self.sparse(sparse), sparse_grid, grid) + kept  # (B, N, C)
        return merged


def _attend(tokens: Tensor, others: Tensor, call: Call) -> Tensor:
    """Tokens on the operation's `queries` attend to `others` on its `keys`; one adaLN modulates both."""
    block, modulation = call.blocks[0], call.modulations[0]

    def attend() -> Tensor:
        return block.attend(
            block.normed(tokens, modulation),
            block.normed(others, modulation),
            query_grid=call.operation.queries,
            key_grid=call.operation.keys,
        )

    attended = modulation.gate_mixer * call.module(attend) + tokens
    return run_others(block.finish(attended, modulation, call.text, call.module), call)


def _merge(tokens: Tokens, call: Call) -> Tokens:
    """Sparse token generation: averaged tokens, or those of the merge before, attend to the dense ones."""
    dense, sparse = tokens
    sparse = downsample(dense, call.operation.keys, call.operation.queries) if sparse is None else sparse
    return Tokens(dense, _attend(sparse, dense, call))


def _sparse(tokens: Tokens, call: Call) -> Tokens:
    """The base's block on the sparse tokens; the dense ones wait."""
    assert tokens.sparse is not None, "it follows a merge"
    return Tokens(tokens.dense, run_blocks(tokens.sparse, call))


def _recover(tokens: Tokens, call: Call) -> Tokens:
    """Dense token recovery: merged dense tokens attend to the sparse ones. A skip of 1 multiplies nothing."""
    assert tokens.sparse is not None, "it follows a merge"
    keys, queries = call.operation.keys, call.operation.queries
    merged = call.weights(tokens.sparse, tokens.dense, sparse_grid=keys, grid=queries, skip=call.skip)
    return Tokens(_attend(merged, tokens.sparse, call))


def _weights(shape: TransformerShape) -> Merge:
    return Merge(shape.width)


register_role_module(RoleModule(role=MERGE.name, compute=_merge))
register_role_module(RoleModule(role=SPARSE.name, compute=_sparse))
register_role_module(RoleModule(role=RECOVER.name, compute=_recover, weights=_weights, collection="merges"))
