"""Layers whose weights rest in the CPU's memory, and are on the device while they are called.

As diffusers' leaf-level group offloading, by hooks that need no block to be called: FlexDiT calls layers alone. Linear
layers and convolutions hold nearly all weights of a transformer; what is left stays on the device, and is read there.
"""

from typing import Any

import torch
from torch import Tensor, nn

OFFLOADED = (nn.Linear, nn.Conv2d, nn.Conv3d)
"""Classes of layers."""


def offload_layers(model: nn.Module, device: torch.device | str) -> None:
    """Move a model to a device, but for the weights of its layers.

    Each layer fetches its own when it is called, to where its input is, and lets them go after. Nothing can be trained
    so, and nothing that reads such weights without a call of their layer works. Weights rest in page-locked memory
    beside a GPU.

    Args:
        model: on the CPU.
        device: of inputs.
    """
    for module in model.modules():
        if isinstance(module, OFFLOADED):
            if torch.device(device).type == "cuda":
                for weight in module.parameters(recurse=False):
                    weight.data = weight.data.pin_memory()
            module.register_forward_pre_hook(_fetch)
            module.register_forward_hook(_let_go, always_call=True)
        else:
            for name, parameter in module.named_parameters(recurse=False):
                moved = nn.Parameter(parameter.data.to(device), requires_grad=parameter.requires_grad)
                setattr(module, name, moved)
            for name, buffer in module.named_buffers(recurse=False):
                setattr(module, name, buffer.to(device))


def is_offloaded(layer: nn.Module) -> bool:
    """Tell whether a layer's weights rest in the CPU's memory."""
    return _fetch in layer._forward_pre_hooks.values()


def _fetch(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    weights: dict[str, Any] = layer._parameters
    layer.__dict__["_resting"] = dict(weights)
    for name, weight in weights.items():
        if weight is not None:
            fetched = weight.detach().to(arguments[0].device, non_blocking=True)
            weights[name] = nn.Parameter(fetched, requires_grad=False)


def _let_go(layer: nn.Module, *_: Any) -> None:
    layer._parameters.update(layer.__dict__.pop("_resting"))
