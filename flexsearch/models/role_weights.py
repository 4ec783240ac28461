"""The weights that roles add to blocks: modules of a model under the collection of their role, by block.

The model's configuration names the blocks that hold some (`extra_blocks`), so that loading makes them first.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from flexsearch.models.roles import ROLE_MODULES, bringing_weights


def collection_of(model: nn.Module, role: str) -> nn.ModuleDict:
    """Give the weights that a role adds, by block; a role may have become known after the model was made."""
    name = ROLE_MODULES[role].collection
    if name not in model._modules:
        model.add_module(name, nn.ModuleDict())
    collection: nn.ModuleDict = getattr(model, name)
    return collection


def role_weights(model: nn.Module) -> Iterator[tuple[str, int, Any]]:
    """Go through role, block and weights, block after block of every role that adds some."""
    for role, module in ROLE_MODULES.items():
        if module.weights is not None:
            for block, weights in sorted(collection_of(model, role).items(), key=lambda item: int(item[0])):
                yield role, int(block), weights


def add_role_weights(model: Any, role_blocks: Iterable[tuple[str, int]]) -> None:
    """Add weights as they start to (role, block) of a `FlexDiT`, where there are none yet and the role adds some."""
    like = next(model.base.parameters())
    for role, block in role_blocks:
        for module in bringing_weights(role):
            collection = collection_of(model, module.role)
            if module.weights is not None and str(block) not in collection:
                collection[str(block)] = module.weights(model.shape).to(model.device, like.dtype)
    _note(model)


def keep_role_weights(model: Any, used: set[tuple[str, int]]) -> None:
    """Forget the weights of all but these (role, block), and of the roles that they share weights with."""
    kept = {(module.role, block) for role, block in used for module in bringing_weights(role)}
    for role, block, _ in role_weights(model):
        if (role, block) not in kept:
            del collection_of(model, role)[str(block)]
    _note(model)


def _note(model: Any) -> None:
    held: dict[str, list[int]] = {}
    for role, block, _ in role_weights(model):
        held.setdefault(role, []).append(block)
    model.register_to_config(extra_blocks=held)
