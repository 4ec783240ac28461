"""From a folder of images to latents: encodes what is not there yet, shard by shard.

A latent is a sample of the autoencoder's posterior, drawn from a generator that the seed and the item's number decide;
neither the batch nor what was done before changes it. The functions that compute are arguments.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flexsearch.data.crop import read_cropped
from flexsearch.data.image_folder import ImageFolder
from flexsearch.data.shards import (
    UNCONDITIONAL,
    LatentIndex,
    StoredFile,
    is_latent_folder,
    read_index,
    shard_name,
    store,
)
from flexsearch.errors import UserError

Posterior = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From images (B, 3, H, W) float32 in [-1, 1] to mean and standard deviation (B, C, h, w) float32, in model units."""

Embed = Callable[[Sequence[str]], list[Tensor]]
"""From captions to one (tokens, D) embedding each."""

EncodingReport = Callable[[int, int], None]
"""Called with (items done, items in total)."""


@dataclass(frozen=True, kw_only=True)
class EncodingSettings:
    """How a folder is encoded.

    Attributes:
        size: pixels per side of the cropped images.
        frames: of a video; None for images.
        seed: of the posterior's samples.
        shard_size: items per file.
        batch: images per call of the autoencoder, captions per call of the text encoder.
        max_tokens: tokens of the longest caption.
    """

    size: int
    frames: int | None
    seed: int
    shard_size: int
    batch: int
    max_tokens: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "seed" else 1
            if value is not None and value < least:
                raise UserError(f"must be at least {least}, but got {value}", field=f"--{field.name.replace('_', '-')}")

    def identity(self) -> dict[str, Any]:
        """What changes the result."""
        return {name: value for name, value in asdict(self).items() if name != "batch"}


def encode_folder(
    folder: ImageFolder,
    out: Path,
    *,
    settings: EncodingSettings,
    posterior: Posterior,
    embed: Embed | None,
    made_by: Mapping[str, str],
    source: Mapping[str, str],
    report: EncodingReport,
) -> LatentIndex:
    """Encodes a folder into another, and goes on with what an interrupted call left there.

    Shards whose checksum is that of the index are kept; all others are written anew.

    Args:
        folder: what to encode.
        out: where to; made if need be.
        settings: how.
        posterior: the autoencoder.
        embed: the text encoder; None where items have labels.
        made_by: what identifies the functions, such as digests of their weights.
        source: names for people, kept in the index and never compared.
        report: told of progress.

    Returns:
        The complete index.

    Raises:
        UserError: `out` was begun with other settings, functions or images; or an image is damaged.
    """
    identity = {**settings.identity(), **made_by, "images": folder.digest()}
    index = _begun(out, identity) or LatentIndex(
        num_items=len(folder), settings=identity, source=dict(source), class_names=tuple(folder.class_names)
    )
    if embed is not None:
        index = _with_captions(index, out, embed, settings)
    parts = {
        shard_name(number): range(start, min(start + settings.shard_size, len(folder)))
        for number, start in enumerate(range(0, len(folder), settings.shard_size))
    }
    kept = tuple(shard for shard in index.shards if shard.is_unchanged(out))
    index = index.with_shards(kept)
    index.write(out)
    ready = {shard.file for shard in kept}
    done = index.items_done
    report(done, len(folder))
    for name, items in parts.items():
        if name in ready:
            continue
        shard, latent_shape = _encode_shard(
            folder,
            items,
            out / name,
            settings,
            posterior,
            embed,
            lambda more, done=done: report(done + more, len(folder)),
        )
        index = index.with_shards((*index.shards, shard), latent_shape=latent_shape)
        index.write(out)
        done += len(items)
    return index


def _begun(out: Path, identity: Mapping[str, Any]) -> LatentIndex | None:
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


def _with_captions(index: LatentIndex, out: Path, embed: Embed, settings: EncodingSettings) -> LatentIndex:
    """The same index with the empty caption, which is written if it is not there."""
    if index.unconditional is not None and index.unconditional.is_unchanged(out):
        return index
    empty = embed([""])[0].half()
    captions = {
        "channels": empty.shape[1],
        "max_tokens": settings.max_tokens,
        "resolution": [settings.size, settings.size],
        "aspect_ratio": 1.0,
    }
    return index.with_captions(captions, store(out / UNCONDITIONAL, {"captions": empty}, items=1))


def _encode_shard(
    folder: ImageFolder,
    items: range,
    path: Path,
    settings: EncodingSettings,
    posterior: Posterior,
    embed: Embed | None,
    report: Callable[[int], None],
) -> tuple[StoredFile, tuple[int, ...]]:
    frames = settings.frames or 1
    chunks = list(_chunks(items, max(1, settings.batch // frames)))
    latents = torch.cat(list(_latents(folder, chunks, settings, posterior, report)))
    tensors = {"latents": latents}
    if embed is None:
        tensors["labels"] = torch.tensor([folder.labels[item] for item in items])
    else:
        captions = [folder.captions[item] for item in items]
        rows = [
            row for chunk in _chunks(range(len(items)), settings.batch) for row in embed([captions[i] for i in chunk])
        ]
        tensors["captions"] = torch.cat(rows).half()
        tensors["caption_ends"] = torch.tensor(list(accumulate(map(len, rows))))
    return store(path, tensors, items=len(items)), tuple(latents.shape[1:])


def _latents(
    folder: ImageFolder,
    chunks: Sequence[range],
    settings: EncodingSettings,
    posterior: Posterior,
    report: Callable[[int], None],
) -> Iterator[Tensor]:
    """(b, C, [F,] h, w) float16 of each chunk of items."""
    files = ([folder.root / file for item in chunk for file in folder.files[item]] for chunk in chunks)
    done = 0
    for chunk, images in zip(chunks, _read_ahead(files, settings.size), strict=True):
        parts = [posterior(part.float() / 127.5 - 1) for part in images.split(settings.batch)]
        mean, std = (torch.cat(values) for values in zip(*parts, strict=True))
        if settings.frames is not None:
            mean, std = (value.unflatten(0, (len(chunk), -1)).transpose(1, 2) for value in (mean, std))
        noise = [torch.randn(mean.shape[1:], generator=_generator(settings.seed, item)) for item in chunk]
        latents = (mean + std * torch.stack(noise)).half()
        if not torch.isfinite(latents).all():
            raise UserError("gives latents that are not finite; try --dtype fp32", field=folder.names[chunk[0]])
        yield latents
        done += len(chunk)
        report(done)


def _generator(seed: int, item: int) -> torch.Generator:
    return torch.Generator().manual_seed((seed * 1_000_003 + item) % 2**63)


def _chunks(items: range, num: int) -> Iterator[range]:
    for start in range(0, len(items), num):
        yield items[start : start + num]


def _read_ahead(chunks: Iterable[Sequence[Path]], size: int) -> Iterator[Tensor]:
    """The cropped images (N, 3, size, size) uint8 of each chunk, read while the chunk before is encoded."""
    with ThreadPoolExecutor() as readers:
        coming: list[Future[Tensor]] | None = None
        for chunk in chunks:
            ready, coming = coming, [readers.submit(read_cropped, path, size) for path in chunk]
            if ready is not None:
                yield torch.stack([image.result() for image in ready])
        if coming is not None:
            yield torch.stack([image.result() for image in coming])
