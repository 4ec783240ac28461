"""Images from an exported model or a dense base."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
import yaml
from torchvision.utils import save_image

from flexsearch.data.conditions import CaptionConditions, ClassConditions, Conditions, size_condition
from flexsearch.data.images import tiles, to_uint8
from flexsearch.diffusion.sampling import generate
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import UserError
from flexsearch.export.folder import CANDIDATE
from flexsearch.export.recipe import RECIPE
from flexsearch.files import replacing
from flexsearch.models.autoencoder import load_autoencoder
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import Base, load_base, load_scheduler
from flexsearch.models.settings import BaseSettings, backbone_of
from flexsearch.models.text_encoder import load_text_encoder
from flexsearch.trial.device import trial_device

DEFAULT_STEPS = 50
MOST_TOKENS = 16_384  # of one batch, so that large images and videos are drawn few at a time


@dataclass(frozen=True, kw_only=True)
class Drawable:
    """A model to draw from.

    Attributes:
        base: the model and its scheduler.
        checkpoint: of the dense base, which has the autoencoder and the text encoder.
        revision: of that base on the hub.
        steps: sampler steps that an exported model was found with.
    """

    base: Base
    checkpoint: str
    revision: str | None = None
    steps: int | None = None


def load_model(name: str) -> Drawable:
    """An exported folder, or a dense base of any architecture.

    Raises:
        UserError: neither can be read.
    """
    device, folder = trial_device(), Path(name)
    candidate = folder / CANDIDATE
    if not candidate.exists():
        settings = BaseSettings(checkpoint=name, backbone=backbone_of(name))
        return Drawable(base=load_base(settings, device=device), checkpoint=name)
    model = FlexDiT.from_pretrained(folder / "transformer").to(device).eval()
    recipe = yaml.safe_load((folder / RECIPE).read_text())
    return Drawable(
        base=Base(model=model, scheduler=load_scheduler(str(folder))),
        checkpoint=recipe["base"]["checkpoint"],
        revision=recipe["base"]["revision"],
        steps=int(json.loads(candidate.read_text())["sampler_steps"]),
    )


def conditions_of(drawable: Drawable, prompts: Sequence[str]) -> Conditions:
    """Class labels in turn, or the prompts in turn.

    Raises:
        UserError: a model that reads text has no prompts, or one that reads labels has some.
    """
    shape = drawable.base.model.shape
    if not shape.text_tokens:
        if prompts:
            raise UserError("this model reads class labels", field="--prompt")
        return ClassConditions(num_classes=shape.num_classes)
    if not prompts:
        raise UserError("is missing: this model reads text", field="--prompt", nearest='--prompt "a red boat"')
    encoder = load_text_encoder(drawable.checkpoint, revision=drawable.revision, device=trial_device())
    empty, *rows = encoder.embed(["", *prompts])
    return CaptionConditions(
        rows=torch.cat(rows),
        ends=torch.tensor([len(row) for row in rows]).cumsum(0),
        empty=empty,
        max_tokens=shape.text_tokens,
        added=size_condition(shape),
    )


def draw(
    name: str, out: Path, *, num: int, steps: int | None, seed: int, guidance: float, prompts: Sequence[str] = ()
) -> str:
    """Writes a grid of `num` images, ten to a row, or of videos, one to a row, and says what it drew.

    Raises:
        UserError: the model cannot be read, or `num`, `out` or `prompts` cannot be used.
    """
    if num < 1:
        raise UserError(f"must be at least 1, but got {num}", field="--num", nearest=1)
    if out.suffix not in (".png", ".jpg"):
        raise UserError(f"must end in .png or .jpg, but got {out.name!r}", field="--out", nearest="samples.png")
    drawable = load_model(name)
    loaded, steps = drawable.base, steps or drawable.steps or DEFAULT_STEPS
    batches = generate(
        loaded.model,
        loaded.scheduler,
        conditions=conditions_of(drawable, prompts),
        num_images=num,
        batch=min(num, MOST_TOKENS // loaded.model.shape.grid.num_tokens + 1, 50),
        sampler_steps=steps,
        seed=seed,
        settings=SamplingSettings(guidance=guidance),
    )
    is_latent = loaded.model.shape.in_channels == 4
    where = {"revision": drawable.revision, "device": loaded.model.device}
    decode = load_autoencoder(drawable.checkpoint, **where).decode if is_latent else None
    images = torch.cat([to_uint8(batch if decode is None else decode(batch)).cpu() for batch in batches])
    with replacing(out) as temporary:
        save_image(tiles(images).float() / 255, temporary, nrow=10, padding=1)
    sampler = f"{steps} steps of {type(loaded.scheduler).__name__}"
    kind = "videos" if images.ndim == 5 else "images"
    made = f"{loaded.model.schedule}, {sampler}, seed {seed}, diffusers {diffusers.__version__}"
    return f"{out}: {num} {kind}, {made}"
