"""The role `pool`: attention with uniform weights (FlexDiT, arXiv 2412.06028, section 3.2).

Queries and keys of image tokens drop out: every token receives the projected mean value. Where text tokens are in the
same softmax, the mean token, at the mean place, is one key that stands for all.
"""

from flexsearch.models.backbones.call import Call
from flexsearch.models.roles.role_module import RoleModule, register_role_module
from flexsearch.models.tokens import Tokens
from flexsearch.schedule.families.pooling import POOL


def _compute(tokens: Tokens, call: Call) -> Tokens:
    moved, context = call.run(tokens.dense, None, tokens.context)
    return Tokens(moved, None, context)


register_role_module(RoleModule(role=POOL.name, compute=_compute))
