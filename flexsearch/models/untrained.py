"""A base without its weights, from its configuration: as fast as the trained one, for timing where that is not here."""

from typing import Any

import diffusers
import torch

from flexsearch.models.architectures import architecture_named
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import Base, is_here, load_base, placed
from flexsearch.models.settings import BaseSettings, base_config
from flexsearch.paths import checkpoint_folder, is_path
from flexsearch.schedule.clock import Clock


def base_or_untrained(settings: BaseSettings, *, device: torch.device) -> tuple[Base, bool]:
    """Give the base if its weights are on this machine, else `untrained_base`; and whether it is the base.

    Raises:
        UserError: the base does not fit its architecture, or is not here and its configuration is not known.
    """
    where = settings.checkpoint
    if checkpoint_folder(where).is_dir() or (not is_path(where) and is_here(settings)):
        return load_base(settings, device=device), True
    return untrained_base(settings, device=device), False


def untrained_base(settings: BaseSettings, *, device: torch.device) -> Base:
    """Make the architecture with random weights.

    One embedder serves all blocks, as in every base that is published or made by `flexsearch pretrain`. The scheduler
    is flow matching's for a base that is given by its configuration, else of the class that its publishers use.

    Raises:
        UserError: the configuration is not known.
    """
    with torch.device(device if settings.offload is None else "cpu"):
        model = FlexDiT(backbone=settings.backbone, base_config=dict(base_config(settings)), tied=True)
    architecture = architecture_named(settings.backbone, field="base.backbone")
    found = {"_class_name": Clock().scheduler}
    if settings.config is None:
        found = architecture.scheduler_of(settings.checkpoint)
    scheduler: Any = getattr(diffusers, found["_class_name"]).from_config(found)
    return Base(model=placed(model, device, offload=settings.offload).eval(), scheduler=scheduler)
