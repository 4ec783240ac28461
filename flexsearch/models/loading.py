"""Loading a dense base: a folder in diffusers' pipeline layout, on disk, embedded, or on the Hugging Face hub.

`CHECKPOINT/transformer` holds configuration and safetensors weights, `CHECKPOINT/scheduler` the scheduler's
configuration, which also says with which objective the base was trained.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from huggingface_hub import logging as hub_logging
from huggingface_hub import try_to_load_from_cache

from flexsearch.errors import UserError, reading
from flexsearch.models.architectures import architecture_named
from flexsearch.models.backbones import backbone_named
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.pretrained import check_finite, check_stored_types, names_in_bf16
from flexsearch.models.settings import BaseSettings, base_config, check_supported
from flexsearch.paths import checkpoint_folder, is_path, resolve_path
from flexsearch.schedule.clock import Clock

hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
diffusers.utils.logging.set_verbosity_error()


@dataclass(frozen=True, kw_only=True)
class Base:
    """A dense base: the model, in eval mode, all-dense, and its scheduler."""

    model: FlexDiT
    scheduler: Any


def load_base(settings: BaseSettings, *, device: torch.device | str = "cpu") -> Base:
    """Load weights and scheduler.

    Raises:
        UserError: the checkpoint cannot be found, reached or read, or does not fit its architecture.
    """
    where = settings.checkpoint
    check_supported(settings)
    local = checkpoint_folder(where)
    source = str(local) if local.is_dir() else where
    if not local.is_dir() and where.startswith((".", "/", "~")):
        raise UserError(
            f"folder {where} does not exist; `flexsearch pretrain` makes a base, or name a diffusers model",
            field="base.checkpoint",
        )
    hub: dict[str, Any] = {"revision": settings.revision} if settings.revision and not local.is_dir() else {}
    base_class = backbone_named(settings.backbone, field="base.backbone").base_class
    advice = (
        "give a local folder in diffusers' layout (transformer/, scheduler/, safetensors), e.g. from "
        f"`hf download {where} --local-dir DIR`"
    )
    if local.is_dir():
        check_stored_types(local / "transformer")
    with reading(f"base.checkpoint: {where}", rule="could not be loaded", advice=advice):
        model, found = base_class.from_pretrained(
            source,
            subfolder="transformer",
            use_safetensors=True,
            output_loading_info=True,
            **({"torch_dtype": torch.bfloat16} if settings.dtype == "bf16" else {}),
            **hub,
        )
    scheduler = load_scheduler(source, **hub)
    problems = {kind: keys for kind, keys in found.items() if keys}
    if problems:
        counts = ", ".join(f"{len(keys)} {kind.replace('_', ' ')} (first {keys[0]})" for kind, keys in problems.items())
        raise UserError(f"{where} does not fit a {settings.backbone} backbone: {counts}", field="base.checkpoint")
    with reading(f"base.checkpoint: {where}"):
        check_finite(model.state_dict())
        if architecture_named(settings.backbone, field="base.backbone").takes_sample_size:
            size = base_config(settings).get("sample_size")
            model.register_to_config(**({} if size is None else {"sample_size": size}))
        flexdit = FlexDiT.from_base(
            model, backbone=settings.backbone, num_train_timesteps=scheduler.config.num_train_timesteps
        )
    return Base(model=placed(flexdit, device, offload=settings.offload).eval(), scheduler=scheduler)


def placed(model: FlexDiT, device: torch.device | str, *, offload: str | None) -> FlexDiT:
    """Move a model to a device, in place, or have it run there with layers offloaded (`base.offload`)."""
    if offload is None:
        moved: FlexDiT = model.to(device)
        return moved
    model.offload_layers(device)
    return model


def is_here(settings: BaseSettings) -> bool:
    """Tell whether the base can be loaded without the network: a folder, or in the hub's cache."""
    where = settings.checkpoint
    if is_path(where) or resolve_path(where).is_dir():
        return True
    return isinstance(try_to_load_from_cache(where, "transformer/config.json", revision=settings.revision), str)


def load_scheduler(source: str, **hub: Any) -> Any:
    """The diffusers scheduler of a checkpoint.

    Raises:
        UserError: it is of a class that flexsearch does not sample with, or spaces its steps in an unknown way.
    """
    with reading(f"{source}/scheduler"):
        config = diffusers.DDIMScheduler.load_config(source, subfolder="scheduler", **hub)
        return getattr(diffusers, Clock.of(config).scheduler).from_config(config)


def load_exported(folder: Path, *, device: torch.device | str = "cpu", offload: str | None = None) -> FlexDiT:
    """Load the weights of an exported model or of a trial, in eval mode; what is stored in bf16 stays so.

    Args:
        folder: of it.
        device: to run on.
        offload: of its base.

    Raises:
        UserError: they are damaged, quantised or not finite; names the folder.
    """
    with reading(folder):
        check_stored_types(folder / "transformer" if (folder / "transformer").is_dir() else folder)
        model: FlexDiT = FlexDiT.from_pretrained(folder)
        check_finite(model.state_dict())
        as_stored(model, folder)
    placed(model, device, offload=offload).eval()
    return model


def as_stored(model: FlexDiT, folder: Path) -> FlexDiT:
    """Have weights in bf16, in place, that a model's folder holds so."""
    in_bf16 = names_in_bf16(folder / "transformer" if (folder / "transformer").is_dir() else folder)
    for name, weight in model.named_parameters():
        if name in in_bf16:
            weight.data = weight.data.bfloat16()
    return model
