"""Say before a search whether `torch.compile` works on a machine: it needs a compiler of C++, on a GPU Triton too."""

from functools import lru_cache

import torch

from flexsearch.errors import UserError, reason_of


@lru_cache
def check_compiler(device: torch.device) -> None:
    """Compile and run a small function on a device, once per process.

    Raises:
        UserError: that does not work; says why.
    """
    try:
        torch.compile(_small, fullgraph=True, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:  # whatever a compiler does
        raise UserError(
            f"torch.compile does not work on {device.type} here: {reason_of(error)}; install what it needs (a C++ "
            "compiler, on a GPU Triton)",
            field="objectives.latency.compile",
            nearest="false",
        ) from error


def _small(values: torch.Tensor) -> torch.Tensor:
    return values.sin() + 1
