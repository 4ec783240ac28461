"""Where the time of a forward pass goes, by kind of kernel: what explains a speed-up below the one allowed."""

from pathlib import Path

import torch
from measure import variants
from models import Subject
from torch.profiler import ProfilerActivity, profile

_REPEATS = 3


def write_profile(subject: Subject, path: Path, *, device: torch.device, dtype: torch.dtype, fused: bool) -> None:
    """A table of the 25 most expensive operations of every variant, eager."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    key = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    parts = []
    for variant in variants(subject, batch=subject.batch, device=device, dtype=dtype, compiled="none", fused=fused):
        for workload in variant.workloads:
            workload()
        with profile(activities=activities) as found:
            for _ in range(_REPEATS):
                for workload in variant.workloads:
                    workload()
        table = found.key_averages().table(sort_by=key, row_limit=25, max_name_column_width=60)
        parts.append(f"{variant.implementation} {variant.schedule}\n{table}\n")
    path.write_text("\n".join(parts))
