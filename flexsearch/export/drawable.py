"""Models to draw from: an exported folder or a dense base, with its conditions and its decoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from flexsearch.data.conditions import CaptionConditions, ClassConditions, Conditions, joined, size_condition
from flexsearch.errors import UserError
from flexsearch.export.folder import CANDIDATE, exported_sampling
from flexsearch.export.recipe import load_recipe
from flexsearch.models.architectures import architecture_named
from flexsearch.models.autoencoder import load_autoencoder
from flexsearch.models.loading import Base, load_base, load_exported, load_scheduler
from flexsearch.models.prompt_encoder import load_prompt_encoder
from flexsearch.models.settings import BaseSettings, backbone_of
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import PIXEL_CHANNELS
from flexsearch.trial.device import trial_device


@dataclass(frozen=True, kw_only=True)
class Drawable:
    """A model to draw from.

    Attributes:
        base: the model and its scheduler.
        origin: the dense base that it was made from, which has the autoencoder and the text encoder.
        sampling: an exported model's, as its weights are run; None of a base.
    """

    base: Base
    origin: BaseSettings
    sampling: Sampling | None = None


def load_model(name: str) -> Drawable:
    """Load an exported folder, or a dense base of any architecture.

    Raises:
        UserError: neither can be read.
    """
    device, folder = trial_device(), Path(name)
    if not (folder / CANDIDATE).exists():
        settings = BaseSettings(checkpoint=name, backbone=backbone_of(name))
        return Drawable(base=load_base(settings, device=device), origin=settings)
    origin = load_recipe(folder).base
    return Drawable(
        base=Base(
            model=load_exported(folder, device=device, offload=origin.offload), scheduler=load_scheduler(str(folder))
        ),
        origin=origin,
        sampling=exported_sampling(folder),
    )


def load_dense(drawable: Drawable, *, name: str) -> Drawable:
    """Load the dense base of an exported model, with the model's own scheduler and sampling, so that only the density
    differs. A gain that the model's weights carry is applied to the base at run time.

    Raises:
        UserError: the model, which the user called `name`, is a base itself; or its base cannot be read.
    """
    if drawable.sampling is None:
        raise UserError(f"compares an exported model with its base, but {name} is a base", field="--dense")
    dense = load_base(drawable.origin, device=drawable.base.model.device)
    if drawable.base.model.data_gaussian is not None:  # of the base, though the exported model carries it
        dense.model.set_data_gaussian(drawable.base.model.data_gaussian)
    sampling = load_recipe(Path(name)).chosen.sampling
    return replace(drawable, base=replace(drawable.base, model=dense.model), sampling=sampling)


def conditions_of(drawable: Drawable, *, prompts: Sequence[str], classes: Sequence[int]) -> Conditions:
    """Give class labels in turn, all or those in `classes`, or the prompts in turn.

    Raises:
        UserError: a model that reads text has no prompts, one that reads labels has some, or a class is out of range.
    """
    shape = drawable.base.model.shape
    if not shape.text_tokens:
        if prompts:
            raise UserError("this model reads class labels", field="--prompt", nearest="--classes 0,1")
        for label in classes:
            if not 0 <= label < shape.num_classes:
                nearest = min(max(label, 0), shape.num_classes - 1)
                raise UserError(
                    f"must be in [0, {shape.num_classes - 1}], but got {label}", field="--classes", nearest=nearest
                )
        return ClassConditions(num_classes=shape.num_classes, chosen=tuple(classes))
    if classes:
        raise UserError("this model reads text", field="--classes", nearest='--prompt "a red boat"')
    if not prompts:
        raise UserError("is missing: this model reads text", field="--prompt", nearest='--prompt "a red boat"')
    origin = drawable.origin
    encoder = load_prompt_encoder(
        architecture_named(origin.backbone, field="base.backbone"),
        origin.checkpoint,
        revision=origin.revision,
        device=trial_device(),
        max_tokens=shape.text_tokens,
    )
    empty, *found = encoder.embed(["", *prompts])
    return CaptionConditions(
        **joined(found),
        empty=empty.tokens,
        max_tokens=shape.text_tokens,
        has_mask=shape.has_text_mask,
        empty_pooled=empty.pooled,
        added=size_condition(shape),
    )


def decoder_of(drawable: Drawable) -> Callable[[Tensor], Tensor]:
    """Load the decoder of data in model units to images in [-1, 1]: the base's autoencoder, or none for pixels."""
    model, origin = drawable.base.model, drawable.origin
    if model.shape.in_channels in PIXEL_CHANNELS:
        return lambda data: data
    return load_autoencoder(origin.checkpoint, revision=origin.revision, device=model.device).decode
