"""The dense base as a teacher. All trials of a study see the same batches, so its outputs are computed once."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from flexsearch.diffusion.batches import Batch, BatchStream
from flexsearch.diffusion.process import DiffusionProcess
from flexsearch.files import replacing
from flexsearch.models.flexdit import FlexDiT

Teacher = Callable[[int, Batch, Tensor, Tensor], Tensor]


def live_teacher(base: FlexDiT) -> Teacher:
    """Run the dense base whenever it is asked."""

    def teach(update: int, batch: Batch, noisy: Tensor, model_time: Tensor) -> Tensor:
        del update
        with torch.no_grad():
            output: Tensor = base(noisy, model_time, **batch.condition).sample
        return output

    return teach


def write_teacher_outputs(
    path: Path,
    *,
    base: FlexDiT,
    process: DiffusionProcess,
    stream: BatchStream,
    updates: int,
    report: Callable[[int], None],
) -> None:
    """Compute and store the base's output for every batch of a run.

    Args:
        path: safetensors file; one tensor per update, shaped like the model's output.
        base: all-dense, in eval mode.
        process: the training objective.
        stream: the batches that every trial will see.
        updates: how many.
        report: called with the number of batches done.
    """
    device = next(base.parameters()).device
    teach, teacher_outputs = live_teacher(base), {}
    for update in range(updates):
        batch = stream.at(update).to(device)
        noisy, model_time = process.noisy(batch.clean, batch.noise, batch.time), process.model_time(batch.time)
        teacher_outputs[str(update)] = teach(update, batch, noisy, model_time).cpu().contiguous()
        report(update + 1)
    with replacing(path) as temporary:
        save_file(teacher_outputs, temporary)


def stored_teacher(path: Path) -> Teacher:
    """Read what `write_teacher_outputs` stored."""
    teacher_outputs = safe_open(path, framework="pt")

    def teach(update: int, batch: Batch, noisy: Tensor, model_time: Tensor) -> Tensor:
        del model_time
        rows = slice(batch.start, batch.start + len(batch.time))
        output: Tensor = teacher_outputs.get_slice(str(update))[rows].to(noisy.device)
        return output

    return teach
