"""Linear layers that read one input, as one matrix product."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flexsearch.models.backbones.hooks import is_plain


class Matrix(NamedTuple):
    """One matrix (R, K) from K input channels to the R output channels of all layers, and its bias (R,) or None."""

    weight: Tensor
    bias: Tensor | None


class FusedLinears:
    """Linear layers whose weights become rows of one matrix: nothing is held twice, and what changes a layer in place
    changes the matrix.

    Args:
        holder: keeps the matrix, as buffers that are not saved.
        places: (module, name of its linear layer), in the order of the rows.
    """

    def __init__(self, holder: nn.Module, places: Sequence[tuple[nn.Module, str]]) -> None:
        self._holder: Any = holder
        self._places = tuple(places)
        self._is_usable = False
        for name in ("fused_weight", "fused_bias"):
            self._holder.register_buffer(name, None, persistent=False)
        self.join()

    @property
    def matrix(self) -> Matrix | None:
        """The matrix. None where layers are to be called one by one: gradients are computed, or a layer is no longer
        the plain one, as under a LoRA."""
        if torch.is_grad_enabled() or not self._is_usable:
            return None
        return Matrix(self._holder.fused_weight, self._holder.fused_bias)

    def join(self) -> None:
        """Make the layers' weights rows of the matrix, where they are not: at first, after `.to(dtype)`, in a copy."""
        layers: list[Any] = [getattr(module, name) for module, name in self._places]
        self._is_usable = all(is_plain(layer) for layer in layers)
        if not self._is_usable or self._holds(layers):
            return
        with torch.inference_mode(False), torch.no_grad():
            self._holder.fused_weight = _joined([layer.weight for layer in layers])
            if layers[0].bias is not None:
                self._holder.fused_bias = _joined([layer.bias for layer in layers])

    def _holds(self, layers: Sequence[Any]) -> bool:
        weight, bias = self._holder.fused_weight, self._holder.fused_bias
        return _has_rows(weight, [layer.weight for layer in layers]) and (
            layers[0].bias is None or _has_rows(bias, [layer.bias for layer in layers])
        )


def _joined(parts: Sequence[Tensor]) -> Tensor:
    whole = torch.cat([part.detach() for part in parts])
    for part, rows in zip(parts, whole.split([len(part) for part in parts]), strict=True):
        part.data = rows
    return whole


def _has_rows(whole: Tensor | None, parts: Sequence[Tensor]) -> bool:
    """Tell whether `parts` lie in the memory of `whole`, one after the other."""
    if whole is None:
        return False
    place = whole.data_ptr()
    for part in parts:
        if part.data_ptr() != place or part.dtype != whole.dtype:
            return False
        place += part.nbytes
    return True
