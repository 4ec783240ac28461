"""The shared warm start, a weight-sharing supernet: one fine-tune of the base in which every update draws
another schedule.

A short trial that starts from the base ranks schedules by how fast they adapt; one that starts here measures how good
they are. Schedules are drawn uniformly from the space: a fixed sparsest one in every update would be trained best.
"""

import random
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

from flexsearch.data.source import DataSource
from flexsearch.diffusion.batches import Batch, BatchStream
from flexsearch.diffusion.optimisation import FineTune
from flexsearch.diffusion.process import process_of
from flexsearch.diffusion.training import Step, Training
from flexsearch.files import replacing
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import Base
from flexsearch.space.search_space import SearchSpace
from flexsearch.trial.resumable import train_resumably
from flexsearch.trial.teacher import live_teacher

_SAVE_EVERY = 200


def elastic_training(
    base: Base,
    *,
    space: SearchSpace,
    data: DataSource,
    settings: FineTune,
    seed: int,
    guidance: float | None = None,
) -> Training:
    """Set up the training run of a warm start. The base stays as it is: a copy is trained, taught by the original."""
    student = base.model.clone()
    _add_what_schedules_need(student, space)

    def draw_schedule(update: int, _: Batch) -> None:
        drawn = space.sample(random.Random(f"{seed}:{update}"))
        student.set_schedule(space.build({**drawn, "dense": False}).schedule)

    stream = BatchStream(
        data=data,
        batch=settings.batch,
        seed=seed,
        edges=space.time_edges,
        shift=space.target.shift,
        guidance=guidance,
    )
    return Training(
        student,
        process=process_of(base.scheduler),
        stream=stream,
        optimisation=settings,
        teacher=live_teacher(base.model) if settings.distillation else None,
        before_update=draw_schedule,
    )


def _add_what_schedules_need(model: FlexDiT, space: SearchSpace) -> None:
    """Add the weights of roles, and where schedules are narrow the order that all share, by the base's weights."""
    model.add_weights(space.role_blocks())
    if space.narrows:
        model.add_width_order()


def make_warm_start(path: Path, training: Training, *, report: Callable[[Step], None]) -> None:
    """Train to the end and write the averaged weights to `path`; go on where an interrupted run stopped.

    Args:
        path: the safetensors file; its folder also holds the checkpoint while the run lasts.
        training: from `elastic_training`.
        report: called after every update.
    """
    checkpoint = path.with_suffix(".checkpoint")
    train_resumably(training, checkpoint, save_every=_SAVE_EVERY, report=report)
    weights = {key: value.detach().cpu().contiguous() for key, value in training.averaged.state_dict().items()}
    with replacing(path) as temporary:
        save_file(weights, temporary)
    checkpoint.unlink(missing_ok=True)


def load_warm_start(path: Path, *, base: Base, space: SearchSpace) -> FlexDiT:
    """Load the fine-tuned model, in eval mode, on the base's device."""
    model = base.model.clone()
    _add_what_schedules_need(model, space)
    model.load_state_dict(load_file(path))
    model.eval()
    return model
