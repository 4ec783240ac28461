"""Images from an exported model or a dense base."""

import json
from pathlib import Path

import diffusers
import torch
from torchvision.utils import save_image

from flexsearch.data.images import to_uint8
from flexsearch.diffusion.sampling import generate
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.errors import UserError
from flexsearch.export.model import CANDIDATE
from flexsearch.files import replacing
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import Base, load_base, load_decoder, load_scheduler
from flexsearch.models.settings import BaseSettings
from flexsearch.trial.inputs import trial_device

DEFAULT_STEPS = 50


def load_model(name: str) -> tuple[Base, int | None]:
    """An exported folder or a base, and the sampler steps that the export was found with.

    Raises:
        UserError: neither can be read.
    """
    device, folder = trial_device(), Path(name)
    candidate = folder / CANDIDATE
    if not candidate.exists():
        return load_base(BaseSettings(checkpoint=name), device=device), None
    model = FlexDiT.from_pretrained(folder / "transformer").to(device).eval()
    steps = int(json.loads(candidate.read_text())["sampler_steps"])
    return Base(model=model, scheduler=load_scheduler(str(folder))), steps


def draw(name: str, out: Path, *, num: int, steps: int | None, seed: int, guidance: float) -> str:
    """Writes a grid of `num` images, ten to a row, and says what it drew.

    Raises:
        UserError: the model cannot be read, or `num` or `out` cannot be used.
    """
    if num < 1:
        raise UserError(f"must be at least 1, but got {num}", field="--num", nearest=1)
    if out.suffix not in (".png", ".jpg"):
        raise UserError(f"must end in .png or .jpg, but got {out.name!r}", field="--out", nearest="samples.png")
    loaded, found_steps = load_model(name)
    steps = steps or found_steps or DEFAULT_STEPS
    batches = generate(
        loaded.model,
        loaded.scheduler,
        num_images=num,
        batch=min(num, 50),
        sampler_steps=steps,
        seed=seed,
        settings=SamplingSettings(guidance=guidance),
    )
    is_latent = loaded.model.shape.in_channels == 4
    decode = load_decoder(BaseSettings(checkpoint=name), device=loaded.model.device) if is_latent else None
    images = torch.cat([to_uint8(batch if decode is None else decode(batch)).cpu() for batch in batches])
    with replacing(out) as temporary:
        save_image(images.float() / 255, temporary, nrow=10, padding=1)
    sampler = f"{steps} steps of {type(loaded.scheduler).__name__}"
    return f"{out}: {num} images, {loaded.model.schedule}, {sampler}, seed {seed}, diffusers {diffusers.__version__}"
