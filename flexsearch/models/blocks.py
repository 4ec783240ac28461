"""The base's blocks as the calls of a model use them: whole or in part, and looked at before every call."""

from typing import Any

import torch

from flexsearch.models.backbones.backbone import Backbone
from flexsearch.models.backbones.fused import FusedLinears
from flexsearch.models.backbones.hooks import check_not_hooked, check_offloaded_once
from flexsearch.models.saving import tied_copies
from flexsearch.schedule.role import Amounts, Operation, Route
from flexsearch.schedule.width import check_width, is_narrow


class Blocks:
    """The blocks of a model.

    Args:
        model: a `FlexDiT`, which calls none of what its parts take apart.
        parts: the model's.
    """

    def __init__(self, model: Any, parts: Backbone) -> None:
        self._parts = parts
        self.narrow: dict[tuple[int, Amounts], Any] = {}
        self._fused: list[FusedLinears] = []
        names = {module: name for name, module in model.named_modules()}
        taken_apart = (model.base, *(module for block in parts.blocks for module in block.taken_apart))
        self._taken_apart = [(names[module], module) for module in taken_apart]
        originals = tuple(original for _, original in tied_copies(model))
        self._shared = [(name, module) for module, name in names.items() if name.startswith(originals)]

    def of(self, operation: Operation) -> Any:
        """Give the block that computes an operation, as much of it as its amounts say."""
        if is_narrow(operation.amounts):
            return self.narrow[operation.block, operation.amounts]
        return self._parts.blocks[operation.block]

    def fuse(self) -> None:
        """Join matrices that multiply one input from now on."""
        self._fused = self._parts.fuse()
        self.narrow.clear()

    def prepare(self, model: Any, route: Route = ()) -> None:
        """Refuse what would be ignored, and join weights anew that were replaced. Compilers see neither.

        Without gradients, narrow blocks keep copies of the heads and hidden channels that they compute, made once, and
        anew where weights change: to gather them in every call costs a tenth of it.

        Raises:
            UserError: something hangs on a module that is never called, or a block cannot be as narrow as the route
                says.
        """
        narrow = {(one.block, one.amounts) for one in route if is_narrow(one.amounts)}
        for block, amounts in narrow - self.narrow.keys():
            check_width([amounts], model.shape)
            model.add_width_order()
            self.narrow[block, amounts] = model.width_order.narrowed(
                self._parts.blocks[block], place=block, amounts=amounts, shape=model.shape
            )
        if not torch.compiler.is_compiling():
            check_not_hooked(model, self._taken_apart, self._parts.processors)
            check_offloaded_once(self._shared)
            for fused in self._fused:
                fused.join()
            for key in narrow:
                for part in self.narrow[key].parts:
                    part.prepare(copies=not torch.is_grad_enabled())
