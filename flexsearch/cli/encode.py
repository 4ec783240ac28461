"""`flexsearch encode`: encodes a folder of images into a folder of latents."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flexsearch.cli.terminal import open_terminal
from flexsearch.errors import UserError
from flexsearch.processors import make_way

if TYPE_CHECKING:  # `--help` waits for none of them
    import torch

    from flexsearch.data.encoding import EncodingSettings
    from flexsearch.models.architectures import Architecture
    from flexsearch.models.autoencoder import Autoencoder

command = typer.Typer()


@command.command(epilog="Example: flexsearch encode photos latents --checkpoint facebook/DiT-XL-2-256")
def encode(
    images: Annotated[Path, typer.Argument(help="class folders of images, or images with captions", metavar="IMAGES")],
    out: Annotated[Path, typer.Argument(help="folder to make; data.root of a search", metavar="OUT")],
    checkpoint: Annotated[str, typer.Option(help="of the base: its autoencoder and text encoders are used")],
    size: Annotated[str, typer.Option(help="pixels per side of the centre crop, or height x width: 480x832")] = "256",
    frames: Annotated[int | None, typer.Option(help="per video; a video is a folder of frame images")] = None,
    captions: Annotated[Literal["auto", "none"], typer.Option(help="auto: taken where there are any")] = "auto",
    batch: Annotated[int, typer.Option(help="images at once")] = 16,
    shard_size: Annotated[int, typer.Option(help="images or videos per file")] = 1024,
    seed: Annotated[int, typer.Option(help="of the samples of the autoencoder's posterior")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[Literal["fp32", "bf16"], typer.Option(help="of autoencoder and text encoders")] = "fp32",
) -> None:
    """Encode images or videos into latents to train on. The same command goes on where it was interrupted."""
    make_way()
    import torch
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from flexsearch.data.encoding import Encoders, EncodingSettings, encode_folder
    from flexsearch.data.image_folder import open_image_folder
    from flexsearch.models.autoencoder import load_autoencoder
    from flexsearch.models.prompt_encoder import load_prompt_encoder

    architecture, max_tokens, has_mask = _captions_of(checkpoint)
    settings = EncodingSettings(
        size=_size(size), frames=frames, seed=seed, shard_size=shard_size, batch=batch, max_tokens=max_tokens
    )
    images, out = images.expanduser(), out.expanduser()
    if out.resolve().is_relative_to(images.resolve()):
        raise UserError(f"must not be inside of {images}, whose folders are read", field=str(out))
    folder = open_image_folder(images, frames=frames, captions=captions == "auto")
    where = _device(device)
    precision = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    autoencoder = load_autoencoder(checkpoint, device=where, dtype=precision)
    _check_fits(settings, autoencoder)
    text = (
        load_prompt_encoder(architecture, checkpoint, max_tokens=max_tokens, device=where, dtype=precision)
        if folder.captions
        else None
    )
    encoders = Encoders(
        posterior=autoencoder.posterior,
        embed=text.embed if text else None,
        identity={"dtype": dtype, "autoencoder": autoencoder.digest, "text_encoder": text.digest() if text else "none"},
        channels=autoencoder.channels,
        joins_frames=autoencoder.frame_stride is not None,
        has_mask=has_mask,
        has_sizes=not architecture.has_own_encoders,
    )
    terminal = open_terminal(stderr=True)
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


def _captions_of(checkpoint: str) -> tuple["Architecture", int, bool]:
    """Give the architecture of a base, how many tokens of a caption it reads, and whether it tells padding apart."""
    from flexsearch.models.architectures import architecture_named
    from flexsearch.models.settings import BaseSettings, backbone_of, base_shape
    from flexsearch.models.text_encoder import MAX_TOKENS

    name = backbone_of(checkpoint)
    architecture = architecture_named(name, field="--checkpoint")
    if not architecture.has_own_encoders:
        return architecture, MAX_TOKENS, True
    shape = base_shape(BaseSettings(checkpoint=checkpoint, backbone=name))
    return architecture, shape.text_tokens, shape.has_text_mask


def _size(text: str) -> int | tuple[int, int]:
    """Read one side, or height x width.

    Raises:
        UserError: it is neither.
    """
    sides = text.split("x")
    if not 1 <= len(sides) <= 2 or not all(side.removeprefix("-").isdecimal() for side in sides):
        raise UserError(f"must be pixels, or height x width, but got {text!r}", field="--size", nearest="480x832")
    return int(text) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def _check_fits(settings: "EncodingSettings", autoencoder: "Autoencoder") -> None:
    """Compare sizes of images and videos with those that an autoencoder takes.

    Raises:
        UserError: it takes others.
    """
    stride, joined, frames = autoencoder.stride, autoencoder.frame_stride, settings.frames
    if any(side % stride for side in settings.sides):
        nearest = "x".join(str(max(1, round(side / stride)) * stride) for side in settings.sides)
        given = "x".join(map(str, settings.sides))
        if not isinstance(settings.size, tuple):
            nearest, given = nearest.split("x")[0], str(settings.size)
        raise UserError(f"must be a multiple of {stride}, but got {given}", field="--size", nearest=nearest)
    if joined is None:
        return
    if frames is None:
        raise UserError("is missing: this autoencoder takes videos, folders of frame images", field="--frames")
    if (frames - 1) % joined:
        raise UserError(
            f"must be 1 more than a multiple of {joined}, of which this autoencoder makes one, but got {frames}",
            field="--frames",
            nearest=1 + round((frames - 1) / joined) * joined,
        )


def _device(name: str) -> "torch.device":
    """Find the device of a name.

    Raises:
        UserError: this machine has none.
    """
    import torch

    from flexsearch.trial.device import trial_device

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
