"""Peak memory of a GPU while one batch of images is generated, as PyTorch's allocator counts it.

What a candidate needs is its weights and what a batch adds to them at most; what else the process holds (the base,
the extractor, other trials' weights) is not its own. The autoencoder and text encoders are not in it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from flexsearch.errors import UserError
from flexsearch.latency.measure import Workload
from flexsearch.latency.settings import MEMORY
from flexsearch.measurement import Measurement
from flexsearch.models.offload import is_offloaded


def measure_memory(
    workload: Workload, model: nn.Module, *, device: torch.device, protocol: Mapping[str, Any]
) -> Measurement | None:
    """Measure the peak while a workload runs once, in GB (10^9 bytes); None on a CPU, where nothing counts it.

    Args:
        workload: generates one batch; has run before, so that what is made once is there.
        model: that it runs.
        device: of both; the caller has it to itself.
        protocol: how the batch is generated, and on what.
    """
    if device.type != "cuda":
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    workload()
    torch.cuda.synchronize(device)
    added = torch.cuda.max_memory_allocated(device) - before
    return Measurement(
        name=MEMORY,
        value=(_size(model) + added) / 1e9,
        unit="GB",
        protocol={**protocol, "statistic": "weights, and the most that a batch adds to them"},
    )


def check_can_measure(device: torch.device, *, max_gb: float | None) -> None:
    """Check that a limit of memory can be kept.

    Raises:
        UserError: there is one, and the device is no GPU.
    """
    if max_gb is not None and device.type != "cuda":
        raise UserError(
            f"is measured on a GPU alone, but got {max_gb:g} on {device.type}", field="objectives.memory.max_gb"
        )


def _size(model: nn.Module) -> int:
    """Bytes of a model's weights that rest on the device; what two names share counts once."""
    storages = {
        (one.untyped_storage().data_ptr(), one.untyped_storage().nbytes())
        for module in model.modules()
        if not is_offloaded(module)
        for one in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    }
    return sum(size for _, size in storages)
