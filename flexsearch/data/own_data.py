"""Training data that a function of the user's gives: images or latents with labels, or a `DataSource` of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flexsearch.data.identity import array_digest
from flexsearch.data.images import ImageSet
from flexsearch.data.labelled import Labelled
from flexsearch.data.source import DataSource
from flexsearch.errors import UserError
from flexsearch.user_function import UserFunction

_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_PARTS = ("conditions", "digest", "clean", "condition", "__len__")


@dataclass(frozen=True, kw_only=True)
class FloatSet(Labelled):
    """Labelled data in model units, a `DataSource`: (N, C, H, W), or (N, C, F, H, W) of videos."""

    data: Tensor
    labels: Tensor
    num_classes: int

    def clean(self, indices: Tensor) -> Tensor:
        """Read the float32 data at `indices`."""
        return self.data[indices].float()

    @property
    def digest(self) -> str:
        """Identify the contents, by all of them."""
        return array_digest(self.data.contiguous().numpy().data, self.labels.contiguous().numpy().data)


def own_data(function: UserFunction) -> DataSource:
    """Call a function without arguments for the training data.

    It gives `(data, labels)` or `(data, labels, num_classes)`, arrays or tensors: images (N, C, H, W) uint8, or floats
    in model units, and labels (N,); `num_classes` is one more than the largest label, unless given. Or it gives an
    object that has what `DataSource` has, for data that do not fit into memory, and for captions.

    Raises:
        UserError: the function failed, or gave something else.
    """
    found = function()
    if all(hasattr(found, part) for part in _PARTS):
        source: DataSource = found
        return source
    if not isinstance(found, Sequence) or len(found) not in (2, 3):
        raise _wrong(function, f"{type(found).__name__}")
    data, labels = _tensor(function, found[0]).contiguous(), _tensor(function, found[1])
    if data.ndim not in (4, 5) or labels.shape != (len(data),) or not len(data):
        raise _wrong(function, f"data {tuple(data.shape)} and labels {tuple(labels.shape)}")
    if (data.dtype != torch.uint8 and not data.is_floating_point()) or labels.dtype not in _WHOLE:
        raise _wrong(function, f"data of {data.dtype} and labels of {labels.dtype}")
    labels = labels.long()
    num_classes = int(found[2]) if len(found) == 3 else int(labels.max()) + 1
    if not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise _wrong(function, f"labels {int(labels.min())} to {int(labels.max())} of {num_classes} classes")
    if data.dtype == torch.uint8:
        return ImageSet(images=data, labels=labels, num_classes=num_classes)
    if not torch.isfinite(data).all():
        raise _wrong(function, "numbers that are not finite")
    return FloatSet(data=data.float(), labels=labels, num_classes=num_classes)


def _tensor(function: UserFunction, values: Any) -> Tensor:
    try:
        return torch.as_tensor(values).cpu()
    except (TypeError, ValueError, RuntimeError):
        raise _wrong(function, type(values).__name__) from None


def _wrong(function: UserFunction, found: str) -> UserError:
    return UserError(
        f"{function.where} must give (data, labels) with data (N, C, H, W) and labels (N,) from 0, or a DataSource, "
        f"but gave {found}",
        field=function.field,
    )
