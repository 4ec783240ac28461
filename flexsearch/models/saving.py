"""Say what the state dict of a `FlexDiT` leaves out, and what loading one into a model adds and leaves as it is."""

from typing import Any

from torch import Tensor

from flexsearch.models.data_gaussian import DataGaussian


def register_state_hooks(model: Any) -> None:
    """Let a model save and load as this file says."""
    model._register_state_dict_hook(_drop_copies)
    for hook in (_restore_copies, _keep_data_gaussian, _keep_width_order):
        model.register_load_state_dict_pre_hook(hook)


def tied_copies(model: Any) -> list[tuple[str, str]]:
    """Give the prefixes of weights that are saved once, each with that of the original."""
    return [(f"base.{copy}", f"base.{original}") for copy, original in model._parts.tied_copies]


def _drop_copies(model: Any, state: dict[str, Tensor], prefix: str, _: Any) -> None:
    """Leave out what shared embedders hold twice."""
    tied = tuple(prefix + copy for copy, _original in tied_copies(model))
    for key in [key for key in state if key.startswith(tied)]:
        del state[key]


def _restore_copies(model: Any, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    for tied, first in tied_copies(model):
        for key in [key for key in state if key.startswith(prefix + first)]:
            state[prefix + tied + key.removeprefix(prefix + first)] = state[key]


def _keep_width_order(model: Any, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Weights without it leave it, weights with it bring it."""
    if f"{prefix}width_order.hidden" in state:
        model.add_width_order()
    elif model.width_order is not None:
        state |= {f"{prefix}width_order.{name}": value for name, value in model.width_order.named_buffers()}


def _keep_data_gaussian(model: Any, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """It is of the base, not of a training: weights without it leave it, weights with it bring it."""
    if f"{prefix}data_means" in state:
        model.set_data_gaussian(DataGaussian.from_tensors(state, prefix))
    if model.data_gaussian is not None:
        state |= {f"{prefix}{name}": value for name, value in model.data_gaussian.tensors.items()}
