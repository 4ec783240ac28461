"""A fingerprint of a base's weights: a few values of every one, by which an exported model knows the base that it was
made from, in whatever floats that is loaded."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from flexsearch.errors import reading

_NUM_VALUES = 32
"""Of each weight. A fine-tune, or a LoRA that was merged, changes nearly all."""
_VALUES = "values"


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """The weights that an exported model was made from.

    Attributes:
        values: (T, 32) of its T tensors in their order, float32.
        is_trained: whether the exported model's weights of the base are others.
    """

    values: Tensor
    is_trained: bool

    @classmethod
    def of(cls, base: nn.Module, *, exported: nn.Module) -> "Fingerprint":
        """Take the fingerprint of a base of diffusers from which `exported`, one of the same class, was made."""
        is_trained = any(
            not torch.equal(weight, other.to(weight.device))
            for (_, weight), (_, other) in zip(_weights(base), _weights(exported), strict=True)
        )
        return cls(values=torch.stack([_some(weight).float() for _, weight in _weights(base)]), is_trained=is_trained)

    @classmethod
    def load(cls, path: Path) -> "Fingerprint":
        """Read what `save` wrote.

        Raises:
            UserError: the file is damaged.
        """
        with reading(path), safetensors.safe_open(path, framework="pt") as file:
            return cls(values=file.get_tensor(_VALUES), is_trained=file.metadata()["is_trained"] == "True")

    def save(self, path: Path) -> None:
        """Write a safetensors file."""
        save_file({_VALUES: self.values.contiguous()}, path, metadata={"is_trained": str(self.is_trained)})

    def first_difference(self, base: nn.Module) -> str | None:
        """Name the first weight of a base that has other values here; None where none has. Values that were rounded to
        fewer bits, here or there, are the same."""
        for values, (name, weight) in zip(self.values, _weights(base), strict=True):
            own = _some(weight)
            if not torch.equal(values.to(own.dtype), own) and not torch.equal(values, own.bfloat16().float()):
                return name
        return None


def _weights(base: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, weight in sorted(base.state_dict().items()):
        if weight.is_floating_point():
            yield name, weight


def _some(weight: Tensor) -> Tensor:
    """(32,) values at equal distances, on the CPU."""
    places = torch.linspace(0, weight.numel() - 1, _NUM_VALUES, dtype=torch.float64).long()
    return weight.detach().flatten()[places.to(weight.device)].cpu()
