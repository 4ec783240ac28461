"""A dense base from scratch, for those who have none: the folder that `load_base` reads."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from flexsearch.cpu_memory import keep_freed_memory
from flexsearch.data.check import check_fit
from flexsearch.data.loading import load_data
from flexsearch.data.settings import DataSettings
from flexsearch.diffusion.batches import BatchStream
from flexsearch.diffusion.optimisation import Optimisation
from flexsearch.diffusion.process import process_of
from flexsearch.diffusion.training import Step, Training
from flexsearch.errors import UserError
from flexsearch.files import sync_folder
from flexsearch.models.architectures.dit import DIT
from flexsearch.models.backbones.dit import new_base, untied
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.settings import BaseSettings
from flexsearch.trial.resumable import train_resumably

CHECKPOINT = "training.checkpoint"
_SAVE_EVERY = 250


def pretrain(
    settings: BaseSettings,
    data: DataSettings,
    optimisation: Optimisation,
    *,
    out: Path,
    seed: int,
    device: torch.device,
    report: Callable[[Step, FlexDiT], None],
    begin_at: Mapping[str, Tensor] | None = None,
) -> None:
    """Train a dense base by flow matching and write it in diffusers' pipeline layout. Resumes from its checkpoint.

    Args:
        settings: gives the transformer's configuration.
        data: what to train on.
        optimisation: how; the averaged weights are written.
        out: folder to write.
        seed: of initialisation and batches.
        device: where to train.
        report: called after every update, with the averaged model.
        begin_at: weights of another base's transformer; taken where name and shape are the same, drawn elsewhere.

    Raises:
        UserError: there is no configuration, or the data do not fit it.
    """
    if settings.config is None:
        raise UserError("is missing: the diffusers configuration of the transformer to train", field="base.config")
    if settings.backbone != DIT.name:
        raise UserError(
            f"must be {DIT.name}, but got {settings.backbone}: text bases are not trained from scratch here",
            field="base.backbone",
            nearest=DIT.name,
        )
    keep_freed_memory()
    images = load_data(data)
    base, scheduler = new_base(dict(settings.config), seed=seed), FlowMatchEulerDiscreteScheduler()
    own = base.state_dict()
    fitting = {key: value for key, value in (begin_at or {}).items() if key in own and own[key].shape == value.shape}
    base.load_state_dict({**own, **fitting})
    model = FlexDiT.from_base(base).to(device)
    check_fit(images, model.shape)
    stream = BatchStream(data=images, batch=optimisation.batch, seed=seed)
    training = Training(model, process=process_of(scheduler), stream=stream, optimisation=optimisation)
    averaged = training.averaged
    assert isinstance(averaged, FlexDiT)
    checkpoint = out / CHECKPOINT
    train_resumably(training, checkpoint, save_every=_SAVE_EVERY, report=lambda step: report(step, averaged))
    untied(averaged.base).cpu().save_pretrained(out / "transformer", safe_serialization=True)
    scheduler.save_pretrained(out / "scheduler")
    sync_folder(out)
    checkpoint.unlink(missing_ok=True)
