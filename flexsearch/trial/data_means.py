"""Data means of a run's base, for a space in which a first step may take them (`flexsearch.schedule.start`)."""

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

from flexsearch.diffusion.data_means import measure_means
from flexsearch.files import replacing
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.sampling import Sampling
from flexsearch.trial.context import TrialContext


def make_means(path: Path, context: TrialContext, *, seed: int, report: Callable[[int, int], None]) -> None:
    """Leave the means in `path`, and in the models of this process.

    Args:
        path: safetensors file.
        context: of the run.
        seed: of the study; the noise is not the trials' own.
        report: called with (labels done, in total).
    """
    space, inputs, settings = context.space, context.inputs, context.settings
    schedule = DensitySchedule.all_dense(space.num_blocks)
    sampling = Sampling(steps=max(space.steps))
    with context.device_lock.shared():
        means = measure_means(
            inputs.base.model,
            inputs.base.scheduler,
            space.plan(Candidate(schedule=schedule, sampling=sampling)),
            batch=settings.objectives.quality.batch,
            seed=seed + 1,
            report=report,
        )
    with replacing(path) as temporary:
        save_file({"means": means.contiguous()}, temporary)
    context.take_means(load_file(path)["means"])
