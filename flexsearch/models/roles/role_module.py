"""Say what a block computes in a role: the registry that `FlexDiT` looks into."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from flexsearch.models.backbones.call import Call
from flexsearch.models.tokens import Tokens
from flexsearch.schedule.shape import TransformerShape

Compute = Callable[[Tokens, Call], Tokens]


@dataclass(frozen=True, kw_only=True)
class RoleModule:
    """A role's computation.

    Attributes:
        role: its name.
        compute: what a block does.
        weights: makes the weights that the role adds to a block, as they are before training; None if it adds none.
        collection: name under which a model keeps these weights, by block; the role's name unless given.
        shares: another role, whose weights it uses beside its own: what is trained in one serves the other.
    """

    role: str
    compute: Compute
    weights: Callable[[TransformerShape], nn.Module] | None = None
    collection: str = ""
    shares: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "collection", self.collection or self.role)


_MODULES: dict[str, RoleModule] = {}
ROLE_MODULES: Mapping[str, RoleModule] = MappingProxyType(_MODULES)
"""Every known role's computation by name."""


def bringing_weights(role: str) -> tuple[RoleModule, ...]:
    """Give what brings the weights of a role to a block: itself, and the role that it shares them with."""
    named = (role, ROLE_MODULES[role].shares)
    return tuple(ROLE_MODULES[one] for one in named if one and ROLE_MODULES[one].weights is not None)


def register_role_module(module: RoleModule) -> RoleModule:
    """Say what the blocks of a role compute."""
    _MODULES[module.role] = module
    return module
