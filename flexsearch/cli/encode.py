"""`flexsearch encode`: a folder of images to a folder of latents."""

from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flexsearch.data.encoding import Encoders, EncodingSettings, encode_folder
from flexsearch.data.image_folder import open_image_folder
from flexsearch.errors import UserError
from flexsearch.models.autoencoder import load_autoencoder
from flexsearch.models.text_encoder import MAX_TOKENS, load_text_encoder
from flexsearch.trial.device import trial_device

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def encode_images(
    images: Path,
    out: Path,
    *,
    checkpoint: str,
    size: int,
    frames: int | None,
    reads_captions: bool,
    batch: int,
    shard_size: int,
    seed: int,
    device: str,
    dtype: str,
) -> None:
    """Encodes `images` into `out` with the autoencoder, and the text encoder if there are captions, of `checkpoint`."""
    settings = EncodingSettings(
        size=size, frames=frames, seed=seed, shard_size=shard_size, batch=batch, max_tokens=MAX_TOKENS
    )
    images, out = images.expanduser(), out.expanduser()
    if out.resolve().is_relative_to(images.resolve()):
        raise UserError(f"must not be inside of {images}, whose folders are read", field=str(out))
    folder = open_image_folder(images, frames=frames, captions=reads_captions)
    where, precision = _device(device), _DTYPES[dtype]
    autoencoder = load_autoencoder(checkpoint, device=where, dtype=precision)
    if size % autoencoder.stride:
        nearest = max(1, round(size / autoencoder.stride)) * autoencoder.stride
        raise UserError(f"must be a multiple of {autoencoder.stride}, but got {size}", field="--size", nearest=nearest)
    text = load_text_encoder(checkpoint, device=where, dtype=precision) if folder.captions else None
    encoders = Encoders(
        posterior=autoencoder.posterior,
        embed=text.embed if text else None,
        identity={"dtype": dtype, "autoencoder": autoencoder.digest, "text_encoder": text.digest if text else "none"},
    )
    terminal = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal) as progress:
        task = progress.add_task("encoding", total=len(folder))
        index = encode_folder(
            folder,
            out,
            settings=settings,
            encoders=encoders,
            source={"images": str(images), "checkpoint": checkpoint},
            report=lambda done, _: progress.update(task, completed=done),
        )
    conditions = "captions" if text else f"{len(index.class_names)} classes"
    shape = "x".join(map(str, index.latent_shape))
    terminal.print(
        f"{out}: {len(folder)} latents {shape} with {conditions}; search with data: {{name: latents, root: {out}}}",
        highlight=False,
        soft_wrap=True,
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return trial_device()
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # a device without memory, such as meta, has no values
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"must be auto, cpu or a CUDA device of this machine, but got {name!r} ({reason})", field="--device"
        ) from None
    return device
