"""Encoded data on disk: `index.json` and numbered safetensors files, every one with its checksum.

OUT/index.json                 format, settings, and the shards that are done
OUT/shard-00000.safetensors    latents (n, C, [F,] h, w) float16 in model units, and for items 0 to n-1
                               labels (n,) int64, or
                               captions (sum of lengths, D) with caption_ends (n,) int64 and, where the base reads
                               pooled vectors, pooled (n, P)
OUT/unconditional.safetensors  captions (length, D) of the empty caption, and pooled (1, P)

Captions are in float16, or in bfloat16 where that holds none as large.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from pydantic import TypeAdapter
from torch import Tensor

from flexsearch.errors import UserError, reading
from flexsearch.files import file_sha256, replacing, write_atomically

INDEX = "index.json"
UNCONDITIONAL = "unconditional.safetensors"
POOLED = "pooled"
_FORMAT, _VERSION = "flexsearch latents", 1


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file of the folder, by its name, with its size and checksum, and how many images or videos are in it."""

    file: str
    items: int
    num_bytes: int
    sha256: str

    def is_whole(self, folder: Path) -> bool:
        """Compare the file's size with the index; reads nothing."""
        path = folder / self.file
        return path.is_file() and path.stat().st_size == self.num_bytes

    def is_unchanged(self, folder: Path) -> bool:
        """Compare the file's checksum with the index; reads all of it."""
        return self.is_whole(folder) and file_sha256(folder / self.file) == self.sha256


@dataclass(frozen=True, kw_only=True)
class LatentIndex:
    """`index.json`.

    Attributes:
        num_items: images or videos, once all are encoded.
        settings: those that decide the contents.
        source: names of images and weights, for people.
        latent_shape: (C, h, w), or (C, F, h, w) of videos; empty before the first shard.
        class_names: the classes in the order of their labels; empty of captions.
        captions: of captions: `channels`, `max_tokens`; `has_mask`, whether padding is told from tokens (so it is where
            nothing is said); `pooled_channels`, where there are pooled vectors; and for PixArt-alpha, which reads it at
            1024 pixels, the original size `resolution` in pixels and the `aspect_ratio` height/width; None of classes.
        shards: those that are done, in order; an item is in exactly one.
        unconditional: the file of the empty caption; None of classes.
    """

    num_items: int
    settings: Mapping[str, Any]
    source: Mapping[str, str] = field(default_factory=dict)
    latent_shape: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()
    captions: Mapping[str, Any] | None = None
    shards: tuple[StoredFile, ...] = ()
    unconditional: StoredFile | None = None

    @property
    def items_done(self) -> int:
        return sum(shard.items for shard in self.shards)

    @property
    def is_complete(self) -> bool:
        return self.items_done == self.num_items

    def with_shards(
        self, shards: Iterable[StoredFile], *, latent_shape: tuple[int, ...] | None = None
    ) -> "LatentIndex":
        """Give the same index with these shards, in order."""
        ordered = tuple(sorted(shards, key=lambda shard: (len(shard.file), shard.file)))
        return replace(self, shards=ordered, latent_shape=latent_shape or self.latent_shape)

    def write(self, folder: Path) -> None:
        write_atomically(folder / INDEX, json.dumps({"format": _FORMAT, "version": _VERSION, **asdict(self)}, indent=1))


def is_latent_folder(folder: Path) -> bool:
    """Tell whether this is a folder of shards."""
    return (folder / INDEX).is_file()


def read_index(folder: Path) -> LatentIndex:
    """Read the index of a folder.

    Raises:
        UserError: it cannot be read, or is of another format.
    """
    path = folder / INDEX
    with reading(path):
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = (values.pop("format"), values.pop("version"))
        if kind != (_FORMAT, _VERSION):
            raise UserError(
                f"must be {_FORMAT!r}, version {_VERSION}, but is {kind[0]!r}, version {kind[1]}", field=str(path)
            )
        return TypeAdapter(LatentIndex).validate_python(values)


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.safetensors"


def store(path: Path, tensors: Mapping[str, Tensor], *, items: int) -> StoredFile:
    """Write tensors to a file that is whole or not there."""
    with replacing(path) as temporary:
        safetensors.torch.save_file({key: value.contiguous() for key, value in tensors.items()}, temporary)
    return StoredFile(file=path.name, items=items, num_bytes=path.stat().st_size, sha256=file_sha256(path))


def opened(folder: Path, stored: StoredFile) -> Any:
    """Open the file as a memory-mapped `safetensors.safe_open`.

    Raises:
        UserError: it is damaged.
    """
    path = folder / stored.file
    with reading(path):
        return safetensors.safe_open(path, framework="pt")


def check_rows(file: Any, name: str, shape: tuple[int, ...], *, path: Path) -> None:
    """Compare the shape of a tensor in an opened file with what the index says; reads the header alone.

    Raises:
        UserError: they differ; names the file.
    """
    with reading(path):
        found = tuple(file.get_slice(name).get_shape())
        if found != shape:
            raise UserError(f"must hold {name} {shape}, as {INDEX} says, but holds {found}")
