"""What others change in a base: hooks, wrapped layers, other attention processors.

`FlexDiT` calls the layers of a base, never the blocks and attentions that hold them: a hook on one of these would do
nothing. So it is refused.
"""

from collections.abc import Iterable
from typing import Any

from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch import nn

from flexsearch.errors import UserError

_PROCESSORS = (AttnProcessor, AttnProcessor2_0)
"""What compute plain attention, as we do."""


def is_hooked(module: Any) -> bool:
    """Whether calling the module does more than its class says."""
    forward = vars(module).get("forward")
    if forward is not None and getattr(forward, "__func__", None) is not type(module).forward:
        return True
    return bool(module._forward_hooks or module._forward_pre_hooks)


def is_plain(layer: nn.Module) -> bool:
    """Whether a linear layer is nothing but its matrix."""
    return type(layer) is nn.Linear and not is_hooked(layer)


def check_not_hooked(modules: Iterable[tuple[str, Any]]) -> None:
    """Check that nothing hangs on modules that are never called.

    Args:
        modules: (name, module).

    Raises:
        UserError: something does; names the module and what to do.
    """
    for name, module in modules:
        if is_hooked(module):
            raise UserError(
                f"has a hook ({_hook_of(module)}), but FlexDiT calls its layers alone: use hooks on layers or on the "
                "whole model, such as enable_model_cpu_offload; reuse over steps is what a search finds",
                field=name,
            )
        processor = getattr(module, "processor", None)
        if processor is not None and type(processor) not in _PROCESSORS:
            raise UserError(
                f"has the processor {type(processor).__name__}, but FlexDiT computes attention itself, by "
                "scaled_dot_product_attention",
                field=name,
                nearest="AttnProcessor2_0()",
            )


def _hook_of(module: Any) -> str:
    registry, offload = getattr(module, "_diffusers_hook", None), getattr(module, "_hf_hook", None)
    if registry is not None and registry.hooks:
        return ", ".join(registry.hooks)
    return "forward" if offload is None else f"{type(offload).__name__} of accelerate"
