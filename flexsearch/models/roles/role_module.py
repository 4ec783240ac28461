"""What a block computes in a role: the registry that `FlexDiT` looks into."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor, nn

from flexsearch.models.backbones.block import TransformerBlock
from flexsearch.models.backbones.modulation import Caption, Modulation, Text
from flexsearch.models.tokens import Tokens
from flexsearch.schedule.role import Operation
from flexsearch.schedule.shape import TransformerShape

Module = Callable[[Callable[[], Tensor]], Tensor]


def computed(module: Callable[[], Tensor]) -> Tensor:
    """Compute a module's output."""
    return module()


class Keeping:
    """Compute modules' outputs and keep them, in the order of the blocks."""

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []

    def __call__(self, module: Callable[[], Tensor]) -> Tensor:
        self.outputs.append(module())
        return self.outputs[-1]


class Taking:
    """Take modules' outputs of an earlier call, in the order of the blocks, and compute none."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self._outputs = list(outputs)

    def __call__(self, _: Callable[[], Tensor]) -> Tensor:
        return self._outputs.pop(0)


class Call(NamedTuple):
    """One block of a schedule in one model call, as its role computes it.

    Attributes:
        blocks: the transformer blocks that it is made of: one, or for video a spatial and a temporal one.
        modulations: one per transformer block.
        text: the caption, where the base reads text.
        operation: what the block does.
        weights: the module that the role brings, or None.
        skip: factor on dense tokens that waited, where sparse tokens are merged into them.
        module: gives the output of a module (attention, text attention, MLP), before its gate, from what computes it.
    """

    blocks: tuple[TransformerBlock, ...]
    modulations: tuple[Modulation, ...]
    text: Text | Caption | None
    operation: Operation
    weights: Any = None
    skip: float = 1.0
    module: Module = computed


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
