"""Autoencoder latents of images or videos, in the folders of `flexsearch encode` and of fast-DiT."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flexsearch.data.conditions import CaptionConditions, ClassConditions, Condition
from flexsearch.data.folder import list_folders
from flexsearch.data.identity import files_digest
from flexsearch.data.labelled import Labelled
from flexsearch.data.shards import INDEX, LatentIndex, StoredFile, check_rows, opened, read_index
from flexsearch.data.stored_captions import StoredCaptions, StoredPooled, empty_caption
from flexsearch.errors import UserError, reading
from flexsearch.measurement import short_digest

_FIELD = "data.root"
_READS_SIZE_FROM = 1024  # pixels per side: PixArt-alpha's larger models read the original size and aspect ratio


class LatentFolder:
    """A folder of `flexsearch encode`, a `DataSource`. Files are memory-mapped; only rows that are asked for are read.

    Args:
        root: holds `index.json` (`flexsearch.data.shards`).

    Attributes:
        index: of the folder.
        labels: (N,) int64 class labels; empty of captions.
        num_classes: labels are below this; 0 of captions.

    Raises:
        UserError: encoding has not ended, or a file is missing or of another size; names it.
    """

    def __init__(self, root: Path) -> None:
        self.index = _complete_index(root)
        self._files = [opened(root, shard) for shard in self.index.shards]
        self._starts = [0, *accumulate(shard.items for shard in self.index.shards)]
        self.num_classes = len(self.index.class_names)
        self.labels = torch.zeros(0, dtype=torch.int64)
        self._root = root
        with reading(root):
            for file, shard in zip(self._files, self.index.shards, strict=True):
                check_rows(file, "latents", (shard.items, *self.index.latent_shape), path=root / shard.file)
            if self.num_classes:
                self.labels = torch.cat([file.get_tensor("labels") for file in self._files])
                _check_labels(self.labels, num=len(self), num_classes=self.num_classes)
            self.conditions = self._conditions(root)

    def _conditions(self, root: Path) -> ClassConditions | CaptionConditions:
        captions, empty = self.index.captions, self.index.unconditional
        if captions is None or empty is None:
            return ClassConditions(num_classes=self.num_classes)
        channels, pooled = captions["channels"], captions.get("pooled_channels")
        rows = StoredCaptions(root, self.index.shards, channels=channels)
        return CaptionConditions(
            rows=rows,
            ends=rows.ends,
            empty=empty_caption(root, empty, channels=channels),
            max_tokens=captions["max_tokens"],
            has_mask=captions.get("has_mask", True),
            pooled=None if pooled is None else StoredPooled(root, self.index.shards, channels=pooled),
            empty_pooled=None if pooled is None else StoredPooled(root, [empty], channels=pooled)[[0]][0],
            added=_sizes(captions),
        )

    def __len__(self) -> int:
        return self.index.num_items

    def condition(self, indices: Tensor) -> Condition:
        if isinstance(self.conditions, CaptionConditions):
            return self.conditions.of_captions(indices.tolist())
        return self.conditions.of_labels(self.labels[indices])

    def clean(self, indices: Tensor) -> Tensor:
        """(B, C, h, w), or (B, C, F, h, w) of videos, float32 latents in model units.

        Raises:
            UserError: one is damaged or not finite; names the file.
        """
        return torch.cat([self._row(index) for index in indices.tolist()])

    def _row(self, index: int) -> Tensor:
        shard = bisect_right(self._starts, index) - 1
        row, file = index - self._starts[shard], self._root / self.index.shards[shard].file
        with reading(file):
            found: Tensor = self._files[shard].get_slice("latents")[row : row + 1]
            return checked_latents(found, shape=(1, *self.index.latent_shape))

    @property
    def digest(self) -> str:
        """Identify the contents, by the checksums of the index."""
        stored: tuple[StoredFile | None, ...] = (*self.index.shards, self.index.unconditional)
        return short_digest([file.sha256 for file in stored if file is not None])


def _sizes(captions: Mapping[str, Any]) -> Condition:
    """Give the size of the images, where the larger models of PixArt-alpha read it; else nothing."""
    if min(captions.get("resolution", [0])) < _READS_SIZE_FROM:
        return {}
    return {
        "resolution": torch.tensor([captions["resolution"]]).float(),
        "aspect_ratio": torch.tensor([[captions["aspect_ratio"]]]).float(),
    }


def checked_latents(found: Tensor, *, shape: tuple[int, ...] | None = None) -> Tensor:
    """Give one latent as float32.

    Args:
        found: (1, C, h, w), or (1, C, F, h, w) of videos.
        shape: which it must have; None takes any (1, C, h, w).

    Raises:
        UserError: it is none.
    """
    if found.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise UserError(f"must hold floats, but holds {str(found.dtype).removeprefix('torch.')} {tuple(found.shape)}")
    if found.shape != shape if shape is not None else found.ndim != 4 or len(found) != 1:
        raise UserError(f"must be {shape or '(1, C, H, W)'}, but is {tuple(found.shape)}")
    if not torch.isfinite(found).all():
        raise UserError("holds numbers that are not finite")
    return found.float()


def _check_labels(labels: Tensor, *, num: int, num_classes: int) -> None:
    if labels.shape != (num,) or labels.dtype != torch.int64:
        raise UserError(f"must hold one label for each of {num} items, but has {tuple(labels.shape)}")
    if num and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise UserError(f"label must be 0..{num_classes - 1}, but got {int(labels.min())} to {int(labels.max())}")


def _complete_index(root: Path) -> LatentIndex:
    index = read_index(root)
    if index.num_items < 1:
        raise UserError("holds no items", field=str(root / INDEX))
    if not index.is_complete:
        raise UserError(
            f"holds {index.items_done} of {index.num_items} items; the same `flexsearch encode` command goes on",
            field=str(root / INDEX),
        )
    stored: tuple[StoredFile | None, ...] = (*index.shards, index.unconditional)
    for file in stored:
        if file is not None and not file.is_whole(root):
            raise UserError(
                f"is missing or not of {file.num_bytes} bytes; the same `flexsearch encode` command mends it",
                field=str(root / file.file),
            )
    return index


class LatentSet(Labelled):
    """A folder of fast-DiT's `extract_features.py`, a `DataSource`: one `.npy` file per image, read when asked for.

    The latents are already multiplied by the autoencoder's scaling factor, as models see them.

    Args:
        root: holds `*_features/N.npy` of shape (1, C, H, W) and `*_labels/N.npy` of shape (1,); or that first folder.

    Raises:
        UserError: the folder does not look like that; says how to make it.
    """

    num_classes = 1000

    def __init__(self, root: Path) -> None:
        named = root.name.endswith("_features")
        features = root if named else _only(root, "*_features")
        labels = root.with_name(f"{root.name.removesuffix('features')}labels") if named else _only(root, "*_labels")
        names = sorted(_arrays(features), key=lambda name: (len(Path(name).stem), Path(name).stem))
        if not names:
            raise UserError(f"{features} holds no .npy files", field=_FIELD)
        alone = sorted(set(names) ^ set(_arrays(labels)))
        if alone:
            rule = f"a latent must have a label and a label a latent, but {alone[0]} is alone ({len(alone)} are)"
            raise UserError(rule, field=f"{_FIELD}: {root}")
        self.files = [features / name for name in names]
        self.labels = torch.tensor([self._label(labels / name) for name in names])

    def _label(self, path: Path) -> int:
        with reading(f"{_FIELD}: {path}"):
            found = _read(path)
            if found.size != 1 or found.dtype.kind not in "iu":
                raise UserError(f"must be one whole number, but is {found.shape} of {found.dtype}")
            label = int(found.reshape(-1)[0])
            if not 0 <= label < self.num_classes:
                raise UserError(f"label must be 0..{self.num_classes - 1}, but got {label}")
            return label

    def clean(self, indices: Tensor) -> Tensor:
        """(B, C, H, W) float32 latents.

        Raises:
            UserError: one is no latent, not finite, or of another shape than the first; names the file.
        """
        rows: list[Tensor] = []
        for index in indices.tolist():
            with reading(f"{_FIELD}: {self.files[index]}"):
                rows.append(checked_latents(_tensor(_read(self.files[index]))))
                if rows[-1].shape != rows[0].shape:
                    raise UserError(f"must be {tuple(rows[0].shape)} as others are, but is {tuple(rows[-1].shape)}")
        return torch.cat(rows)

    @property
    def digest(self) -> str:
        """Identify the contents, by names, sizes and some of the files."""
        return files_digest(self.files[0].parent, [Path(file.name) for file in self.files])


def _arrays(folder: Path) -> Sequence[str]:
    with reading(f"{_FIELD}: {folder}"):
        return list_folders(folder, suffixes=(".npy",))[0].files


def _only(root: Path, pattern: str) -> Path:
    found = sorted(path for path in root.glob(pattern) if path.is_dir())
    if len(found) != 1:
        raise UserError(
            f"{root} must hold latents, index.json with its shards or one folder {pattern}, but has "
            f"{len(found) or 'neither'}; `flexsearch encode` makes them of your images, fast-DiT's extract_features.py "
            "(github.com/chuanyangjin/fast-DiT) of ImageNet",
            field=_FIELD,
        )
    return found[0]


def _read(path: Path) -> np.ndarray:
    array: np.ndarray = np.load(path, allow_pickle=False)
    return array


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise UserError(f"must hold floats of 2, 4 or 8 bytes, but holds {array.dtype} {array.shape}")
    return torch.from_numpy(array)
