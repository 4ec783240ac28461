"""Say what others change in a base: hooks, wrapped layers, attention processors and backends, what blocks do in parts.

`FlexDiT` calls the layers of a base, never the blocks and attentions that hold them: a hook on one of these would do
nothing. So it is refused.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from flexsearch.errors import UserError

_REUSE = "reuse over steps is what a search finds, and FlexDiTPipeline draws with it"


def is_hooked(module: Any) -> bool:
    """Tell whether calling the module does more than its class says."""
    forward = vars(module).get("forward")
    if forward is not None and getattr(forward, "__func__", None) is not type(module).forward:
        return True
    return bool(module._forward_hooks or module._forward_pre_hooks)


def is_compiled(module: Any) -> bool:
    """Tell whether calling the module runs what `module.compile` made."""
    return module._compiled_call_impl is not None


def is_plain(layer: nn.Module) -> bool:
    """Tell whether a linear layer is nothing but its matrix."""
    return type(layer) is nn.Linear and not is_hooked(layer) and not is_compiled(layer)


def backend_of(processor: Any) -> str | None:
    """Name the attention backend of diffusers that a processor would compute with in place of torch's own: set on it,
    or active for all. None of a processor whose class asks for no backend, as of the base itself."""
    if not hasattr(processor, "_attention_backend"):
        return None
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry  # since 0.35

    active, _ = _AttentionBackendRegistry.get_active_backend()
    backend = AttentionBackendName(processor._attention_backend or active)
    return None if backend is AttentionBackendName.NATIVE else backend.value


def check_not_hooked(model: Any, taken_apart: Iterable[tuple[str, Any]], processors: Mapping[str, str]) -> None:
    """Check that nothing hangs on modules that are never called, and no cache that looks for them on the model.

    Args:
        model: the whole, which is called.
        taken_apart: (name, module) of it.
        processors: of attentions, as `Backbone.processors`.

    Raises:
        UserError: something does, or one is compiled, fused, or computes in chunks; names the module and what to do.
    """
    caches = [name for name in _hooks_of(model) if "cache" in name]
    if caches:
        raise UserError(f"looks for blocks, which FlexDiT takes apart; {_REUSE}", field=caches[0])
    for name, module in taken_apart:
        if is_hooked(module):
            raise UserError(
                f"has a hook ({hook_of(module)}), but FlexDiT calls its layers alone: use hooks on layers or on the "
                f"whole model, such as enable_model_cpu_offload; {_REUSE}",
                field=name,
            )
        _check_called_as_layers(name, module)
        processor = getattr(module, "processor", None)
        own = processors.get(name.rpartition(".")[2])
        if processor is not None and type(processor).__name__ != own:
            raise UserError(
                f"has the processor {type(processor).__name__}, but FlexDiT computes attention itself, as the base "
                "does when it is built",
                field=name,
                nearest=own,
            )
        backend = backend_of(processor)
        if backend is not None:
            raise UserError(
                f"has the attention backend {backend}, but FlexDiT computes attention itself, by "
                "scaled_dot_product_attention",
                field=name,
                nearest='set_attention_backend("native")',
            )


def _check_called_as_layers(name: str, module: Any) -> None:
    """Check that a module is not to be compiled, or computed in parts, where it is called as a whole."""
    if is_compiled(module):
        raise UserError(
            "is compiled, but FlexDiT calls its layers alone: compile_stages() of the whole model compiles one graph "
            "per stage",
            field=name,
        )
    if getattr(module, "_chunk_size", None) is not None:
        raise UserError(
            "computes its MLP in chunks, but FlexDiT calls the MLP on all tokens at once",
            field=name,
            nearest="disable_forward_chunking()",
        )
    if getattr(module, "fused_projections", False):
        raise UserError(
            "has fused projections, but FlexDiT calls the single ones: use fuse() of the whole model",
            field=name,
            nearest="unfuse_qkv_projections()",
        )


def check_offloaded_once(shared: Iterable[tuple[str, Any]]) -> None:
    """Check that accelerate did not hook a module once for each of the blocks that share it, under other names.

    Args:
        shared: (name, module) of the modules that several blocks hold.

    Raises:
        UserError: it did, as sequential CPU offload does.
    """
    for name, module in shared:
        if type(getattr(module, "_hf_hook", None)).__name__ == "SequentialHook":
            raise UserError(
                "is shared by all blocks, and cannot be offloaded for each; use enable_model_cpu_offload", field=name
            )


def hook_of(module: Any) -> str:
    """Name what is hooked on a module: diffusers' hooks, accelerate's, or its own forward."""
    offload = getattr(module, "_hf_hook", None)
    own = "forward" if offload is None else f"{type(offload).__name__} of accelerate"
    return ", ".join(_hooks_of(module)) or own


def _hooks_of(module: Any) -> list[str]:
    """Names of diffusers' hooks on a module."""
    registry = vars(module).get("_diffusers_hook")
    return [] if registry is None else list(registry.hooks)
