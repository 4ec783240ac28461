"""The role `pool`: attention with uniform weights (FlexDiT, arXiv 2412.06028, section 3.2)."""

from flexsearch.models.roles.role_module import Call, RoleModule, register_role_module
from flexsearch.models.tokens import Tokens
from flexsearch.schedule.families.pooling import POOL


def _compute(tokens: Tokens, call: Call) -> Tokens:
    """Queries and keys drop out: every token receives the projected mean value, of its frame, then of its place."""
    moved, text = tokens.dense, call.text
    for block, modulation in zip(call.blocks, call.modulations, strict=True):
        moved = block.enter(moved, call.operation)
        mixed = block.pool(block.normed(moved, modulation), call.operation.queries)
        moved = block.finish(modulation.gate_mixer * mixed + moved, modulation, text)
        text = None  # read by the first block alone
    return Tokens(moved)


register_role_module(RoleModule(role=POOL.name, compute=_compute))
