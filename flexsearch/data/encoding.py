"""Encoding of a folder of images to latents, shard by shard; shards that are there are kept.

A latent is a sample of the autoencoder's posterior, from a generator seeded by the item: neither batches nor resuming
change it. The encoders are arguments.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flexsearch.data.conditions import Embedding, in_16_bits, joined
from flexsearch.data.image_folder import ImageFolder
from flexsearch.data.pictures import OPENING, scan_pictures
from flexsearch.data.read_ahead import read_ahead
from flexsearch.data.shards import (
    POOLED,
    UNCONDITIONAL,
    LatentIndex,
    is_latent_folder,
    read_index,
    shard_name,
    store,
)
from flexsearch.errors import UserError, shown
from flexsearch.seeds import item_seed
from flexsearch.settings import LARGEST

Posterior = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From images (B, 3, H, W) float32 in [-1, 1] to mean and standard deviation (B, C, h, w) float32, in model units; or
from videos (B, 3, F, H, W) to (B, C, f, h, w), where frames are joined."""

Embed = Callable[[Sequence[str]], Sequence[Embedding]]
"""From captions to one embedding each."""

EncodingReport = Callable[[int, int], None]
"""Called with (items done, items in total)."""


@dataclass(frozen=True, kw_only=True)
class EncodingSettings:
    """Settings of an encoding.

    Attributes:
        size: pixels per side of the cropped images, or their height and width.
        frames: of a video; None for images.
        seed: of the posterior's samples.
        shard_size: items per file.
        batch: images per call of the autoencoder, captions per call of the text encoder.
        max_tokens: tokens of the longest caption.
    """

    size: int | tuple[int, int]
    frames: int | None
    seed: int
    shard_size: int
    batch: int
    max_tokens: int

    def __post_init__(self) -> None:
        for field in fields(self):
            values, least = getattr(self, field.name), 0 if field.name == "seed" else 1
            for value in values if isinstance(values, tuple) else (values,):
                if value is not None and not least <= value <= LARGEST:
                    bound = f"at least {least}" if value < least else "at most 2^63 - 1"
                    name = field.name.replace("_", "-")
                    raise UserError(f"must be {bound}, but got {shown(value)}", field=f"--{name}")

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the cropped images, in pixels."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    def identity(self) -> dict[str, Any]:
        """Give the settings that change the result, as JSON values."""
        values = {name: value for name, value in asdict(self).items() if name != "batch"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """The networks, as functions.

    Attributes:
        posterior: the autoencoder.
        embed: the text encoders; None where items have labels.
        identity: identifies them, such as by digests of their weights.
        channels: of the images that the autoencoder takes: 3, or 1 where they are grey.
        joins_frames: whether the autoencoder takes whole videos; else it takes their frames.
        has_mask: whether the base tells padding of captions from tokens.
        has_sizes: whether captions come with the size of the images, as some models of PixArt-alpha read it.
    """

    posterior: Posterior
    embed: Embed | None
    identity: Mapping[str, str]
    channels: int = 3
    joins_frames: bool = False
    has_mask: bool = True
    has_sizes: bool = True


def encode_folder(
    folder: ImageFolder,
    out: Path,
    *,
    settings: EncodingSettings,
    encoders: Encoders,
    source: Mapping[str, str],
    report: EncodingReport,
) -> LatentIndex:
    """Encode a folder into another, and resume what an interrupted call left there.

    Shards whose checksum is that of the index are kept; all others are written anew.

    Args:
        out: where to; made if need be.
        source: names for people, kept in the index and never compared.
        report: told of progress.

    Returns:
        The complete index.

    Raises:
        UserError: `out` was begun with other settings, functions or images; or an image is damaged.
    """
    scan_pictures(folder.root / file for files in folder.files for file in files)
    identity = {**settings.identity(), **encoders.identity, "images": folder.digest(), "pictures": OPENING}
    index = _begun(out, identity) or LatentIndex(
        num_items=len(folder), settings=identity, source=dict(source), class_names=tuple(folder.class_names)
    )
    if encoders.embed is not None:
        index = _with_captions(index, out, encoders, settings)
    index = index.with_shards(shard for shard in index.shards if shard.is_unchanged(out))
    index.write(out)
    report(index.items_done, len(folder))
    ready = {shard.file for shard in index.shards}
    for number, items in enumerate(_chunks(range(len(folder)), settings.shard_size)):
        path = out / shard_name(number)
        if path.name in ready:
            continue
        chunks = list(_chunks(items, max(1, settings.batch // (settings.frames or 1))))
        latents = []
        for latent in _latents(folder, chunks, settings, encoders):
            latents.append(latent)
            report(index.items_done + sum(map(len, latents)), len(folder))
        tensors = {"latents": torch.cat(latents), **_conditions(folder, items, settings, encoders.embed)}
        shard = store(path, tensors, items=len(items))
        index = index.with_shards((*index.shards, shard), latent_shape=tuple(tensors["latents"].shape[1:]))
        index.write(out)
    return index


def _begun(out: Path, identity: Mapping[str, Any]) -> LatentIndex | None:
    if out.exists() and not out.is_dir():
        raise UserError("must be a folder, or not there yet, but is a file", field=str(out))
    if not is_latent_folder(out):
        return None
    index = read_index(out)
    if not index.shards:
        return None
    for name, wanted in identity.items():
        found = index.settings.get(name)
        if found != wanted:
            raise UserError(
                f"was begun with {name.replace('_', ' ')} {found}, but got {wanted}; give the same, or another folder",
                field=str(out),
            )
    return index


def _with_captions(index: LatentIndex, out: Path, encoders: Encoders, settings: EncodingSettings) -> LatentIndex:
    """Add the empty caption to the index, and write it if it is not there."""
    if index.unconditional is not None and index.unconditional.is_unchanged(out):
        return index
    assert encoders.embed is not None, "there are captions"
    (empty,) = encoders.embed([""])
    captions: dict[str, Any] = {
        "channels": empty.tokens.shape[1],
        "max_tokens": settings.max_tokens,
        "has_mask": encoders.has_mask,
    }
    tensors = {"captions": in_16_bits(empty.tokens)}
    if encoders.has_sizes:
        height, width = settings.sides
        captions |= {"resolution": [height, width], "aspect_ratio": height / width}
    if empty.pooled is not None:
        captions |= {"pooled_channels": len(empty.pooled)}
        tensors |= {POOLED: in_16_bits(empty.pooled[None])}
    unconditional = store(out / UNCONDITIONAL, tensors, items=1)
    return replace(index, captions=captions, unconditional=unconditional)


def _conditions(
    folder: ImageFolder, items: range, settings: EncodingSettings, embed: Embed | None
) -> dict[str, Tensor]:
    """Give the labels, or embed the captions, of these items, as a shard has them."""
    if embed is None:
        return {"labels": torch.tensor([folder.labels[item] for item in items])}
    found: list[Embedding] = []
    for chunk in _chunks(items, settings.batch):
        found += embed([folder.captions[item] for item in chunk])
    captions = joined(found)
    tensors = {"captions": in_16_bits(captions["rows"]), "caption_ends": captions["ends"]}
    return {**tensors, POOLED: in_16_bits(captions["pooled"])} if "pooled" in captions else tensors


def _latents(
    folder: ImageFolder,
    chunks: Sequence[range],
    settings: EncodingSettings,
    encoders: Encoders,
) -> Iterator[Tensor]:
    """Encode each chunk of items to (b, C, [F,] h, w) float16."""
    files = ([folder.root / file for item in chunk for file in folder.files[item]] for chunk in chunks)
    for chunk, images in zip(chunks, read_ahead(files, (encoders.channels, *settings.sides)), strict=True):
        if encoders.joins_frames:
            videos = images.unflatten(0, (len(chunk), -1)).transpose(1, 2)  # (b, 3, F, H, W)
            mean, std = encoders.posterior(videos.float() / 127.5 - 1)
        else:
            parts = [encoders.posterior(part.float() / 127.5 - 1) for part in images.split(settings.batch)]
            mean, std = (torch.cat(values) for values in zip(*parts, strict=True))
        if settings.frames is not None and not encoders.joins_frames:
            mean, std = (value.unflatten(0, (len(chunk), -1)).transpose(1, 2) for value in (mean, std))
        noise = [
            torch.randn(mean.shape[1:], generator=torch.Generator().manual_seed(item_seed(settings.seed, item)))
            for item in chunk
        ]
        latents = (mean + std * torch.stack(noise)).half()
        for item, latent in zip(chunk, latents, strict=True):
            if not torch.isfinite(latent).all():
                raise UserError(
                    "gives latents that are not finite; try --dtype fp32", field=str(folder.root / folder.names[item])
                )
        yield latents


def _chunks(items: range, num: int) -> Iterator[range]:
    for start in range(0, len(items), num):
        yield items[start : start + num]
