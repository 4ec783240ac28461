"""`flexsearch encode`: encodes a folder of images into a folder of latents."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flexsearch.cli.terminal import open_terminal
from flexsearch.errors import UserError
from flexsearch.processors import make_way

if TYPE_CHECKING:  # `--help` waits for none of them
    import torch

command = typer.Typer()


@command.command(epilog="Example: flexsearch encode photos latents --checkpoint facebook/DiT-XL-2-256")
def encode(
    images: Annotated[Path, typer.Argument(help="class folders of images, or images with captions", metavar="IMAGES")],
    out: Annotated[Path, typer.Argument(help="folder to make; data.root of a search", metavar="OUT")],
    checkpoint: Annotated[str, typer.Option(help="of the base: its autoencoder and text encoder are used")],
    size: Annotated[int, typer.Option(help="pixels per side of the centre crop")] = 256,
    frames: Annotated[int | None, typer.Option(help="per video; a video is a folder of frame images")] = None,
    captions: Annotated[Literal["auto", "none"], typer.Option(help="auto: taken where there are any")] = "auto",
    batch: Annotated[int, typer.Option(help="images at once")] = 16,
    shard_size: Annotated[int, typer.Option(help="images or videos per file")] = 1024,
    seed: Annotated[int, typer.Option(help="of the samples of the autoencoder's posterior")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[Literal["fp32", "bf16"], typer.Option(help="of autoencoder and text encoder")] = "fp32",
) -> None:
    """Encode images or videos into latents to train on. The same command goes on where it was interrupted."""
    make_way()
    import torch
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from flexsearch.data.encoding import Encoders, EncodingSettings, encode_folder
    from flexsearch.data.image_folder import open_image_folder
    from flexsearch.models.autoencoder import load_autoencoder
    from flexsearch.models.text_encoder import MAX_TOKENS, load_text_encoder

    settings = EncodingSettings(
        size=size, frames=frames, seed=seed, shard_size=shard_size, batch=batch, max_tokens=MAX_TOKENS
    )
    images, out = images.expanduser(), out.expanduser()
    if out.resolve().is_relative_to(images.resolve()):
        raise UserError(f"must not be inside of {images}, whose folders are read", field=str(out))
    folder = open_image_folder(images, frames=frames, captions=captions == "auto")
    if folder.captions:
        _check_reads_t5(checkpoint)
    where = _device(device)
    precision = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
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


def _check_reads_t5(checkpoint: str) -> None:
    """Check that captions of a base can be encoded.

    Raises:
        UserError: it has text encoders of its own.
    """
    from flexsearch.models.architectures import architecture_named
    from flexsearch.models.settings import backbone_of

    name = backbone_of(checkpoint)
    if architecture_named(name, field="--checkpoint").has_own_encoders:
        raise UserError(
            f"is of {name}, whose captions are not encoded (those of PixArt-alpha and Latte are); its schedules are "
            "taught by its own samples: data: {name: captions, root: FILE} and teacher_samples",
            field="--checkpoint",
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
