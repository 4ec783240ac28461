"""The role `dense`: the base's own block."""

from flexsearch.models.backbones.call import Call
from flexsearch.models.roles.role_module import RoleModule, register_role_module
from flexsearch.models.tokens import Tokens
from flexsearch.schedule.families.dense import DENSE


def _compute(tokens: Tokens, call: Call) -> Tokens:
    moved, context = call.run(tokens.dense, tokens.dense, tokens.context)
    return Tokens(moved, None, context)


register_role_module(RoleModule(role=DENSE.name, compute=_compute))
