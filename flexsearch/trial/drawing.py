"""Draw images of a trial's model, to be measured in the trial and whenever it is measured again."""

from collections.abc import Iterator

import torch
from torch import Tensor

from flexsearch.data.images import to_uint8
from flexsearch.diffusion.sampling import generate
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.plan import Plan
from flexsearch.trial.context import TrialContext
from flexsearch.trial.contract import Progress, Report


def draw(model: FlexDiT, plan: Plan, context: TrialContext, report: Report, *, num: int, seed: int) -> Iterator[Tensor]:
    """Draw batches of (B, C, H, W) uint8 images on the CPU, or (B, C, F, H, W) videos, `num` in all.

    Args:
        model: draws.
        plan: what it computes.
        context: of the run.
        report: called after every batch.
        num: of images.
        seed: one seed gives every model the same noise and conditions, image by image.
    """
    done = 0
    drawn = generate(
        model.eval(),
        context.inputs.base.scheduler,
        plan,
        conditions=context.inputs.conditions,
        num_images=num,
        batch=context.settings.objectives.quality.batch,
        seed=seed,
        settings=context.settings.sampling,
    )
    while done < num:
        with context.device_lock.shared():
            batch = next(drawn)
        images = to_uint8(context.inputs.decode(batch)).cpu()
        done += len(images)
        report(Progress(phase="sample", done=done, total=num))
        yield images


def draw_all(model: FlexDiT, plan: Plan, context: TrialContext, report: Report, *, num: int, seed: int) -> Tensor:
    """Draw as `draw` does, in one tensor: (num, C, H, W) uint8 images, or (num, C, F, H, W) videos."""
    return torch.cat(list(draw(model, plan, context, report, num=num, seed=seed)))
