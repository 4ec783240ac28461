"""What a block computes in a role: the registry that `FlexDiT` looks into."""

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
    """

    role: str
    compute: Compute
    weights: Callable[[TransformerShape], nn.Module] | None = None
    collection: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "collection", self.collection or self.role)


_MODULES: dict[str, RoleModule] = {}
ROLE_MODULES: Mapping[str, RoleModule] = MappingProxyType(_MODULES)
"""Every known role's computation by name."""


def register_role_module(module: RoleModule) -> RoleModule:
    """Say what the blocks of a role compute."""
    _MODULES[module.role] = module
    return module
