"""A finished trial's model, measured again on fresh noise: what a confirmation does once per candidate and seed.

Nothing is trained: the model is the one that the trial kept, or the dense base. Features are kept, images are not (but
for metrics of images), so many images take little memory.
"""

from dataclasses import replace

import torch
from torch import Tensor

from flexsearch.errors import UserError
from flexsearch.measurement import Measurement
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import load_exported
from flexsearch.objectives.fid_infinity import BLOCKS, MIN_IMAGES, block_name
from flexsearch.trial.clock import Clock
from flexsearch.trial.context import TrialContext, trial_context
from flexsearch.trial.contract import Progress, Report, TrialOrder, TrialResult
from flexsearch.trial.drawing import draw
from flexsearch.trial.life import CHECKPOINT
from flexsearch.trial.protocol import with_protocol
from flexsearch.trial.timing import time_images


def remeasure(order: TrialOrder, report: Report, *, images: int) -> TrialResult:
    """Measure the objectives of one candidate under one seed.

    Args:
        order: which trial, under which sampling seed; `fine_tune` is False for the dense base.
        report: called as it goes on.
        images: to draw.

    Returns:
        Latency, and quality: of all images, and of each of their halves and quarters, as independent repetitions and
        for extrapolation to infinitely many.

    Raises:
        UserError: the trial's model is gone, or too few images.
    """
    if images < MIN_IMAGES:
        raise UserError(f"must be at least {MIN_IMAGES}, but got {images}", field="--images", nearest=MIN_IMAGES)
    clock = Clock()
    with clock.phase("prepare"):
        report(Progress(phase="prepare"))
        context = trial_context(order.run_dir)
        model = _kept(order, context)
    with clock.phase("latency"):
        report(Progress(phase="latency"))
        latencies, _ = time_images(model, order, context)
    with clock.phase("sample"):
        rows = _rows(model, order, context, report, images)
    with clock.phase("score"):
        report(Progress(phase="score"))
        measured = [*_quality(rows, order, context), *latencies]
    return TrialResult(state="complete", measurements={found.name: found for found in measured}, seconds=clock.seconds)


def _kept(order: TrialOrder, context: TrialContext) -> FlexDiT:
    """Load the averaged weights that the trial kept, or the dense base."""
    if not order.fine_tune:
        return context.inputs.base.model
    folder = order.run_dir / "trials" / str(order.number) / CHECKPOINT
    if not folder.is_dir():
        raise UserError(f"trial {order.number} cannot be measured again: its model is not there", field=str(folder))
    return load_exported(folder, device=context.inputs.device, offload=context.settings.base.offload)


def _rows(model: FlexDiT, order: TrialOrder, context: TrialContext, report: Report, images: int) -> Tensor:
    """Give what the objective is measured of, row by row, in the order of the images."""
    rows, batch = [], context.settings.objectives.quality.batch
    for drawn in draw(model, context.space.plan(order.candidate), context, report, num=images, seed=order.seed):
        with context.device_lock.shared():
            rows.append(context.inputs.evaluators[0].rows(drawn, batch=batch))
    return torch.cat(rows)


def _quality(rows: Tensor, order: TrialOrder, context: TrialContext) -> list[Measurement]:
    """Measure the objective on all images, then on every block of them."""
    evaluator, measured = context.inputs.evaluators[0].alone, list[Measurement]()
    for num in BLOCKS:
        first = 0
        for index, block in enumerate(rows.tensor_split(num)):
            with context.device_lock.shared():
                found = evaluator.measure(block, first=first, seed=order.seed)[0]
            first += len(block)
            measured.append(replace(found, name=block_name(found.name, index, num)))
    return with_protocol(measured, context.space.target.clock, context.settings.sampling, seed=order.seed)
