"""Autoencoder latents of images or videos, in the folders of `flexsearch encode` and of fast-DiT."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flexsearch.data.conditions import CaptionConditions, ClassConditions, Condition
from flexsearch.data.labelled import Labelled
from flexsearch.data.shards import INDEX, LatentIndex, StoredFile, opened, read_index
from flexsearch.errors import UserError

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
        if self.num_classes:
            self.labels = torch.cat([file.get_tensor("labels") for file in self._files])
        self.conditions = self._conditions(root)

    def _conditions(self, root: Path) -> ClassConditions | CaptionConditions:
        captions, empty = self.index.captions, self.index.unconditional
        if captions is None or empty is None:
            return ClassConditions(num_classes=self.num_classes)
        rows = _CaptionRows(self._files)
        added = {
            "resolution": torch.tensor([captions["resolution"]]).float(),
            "aspect_ratio": torch.tensor([[captions["aspect_ratio"]]]).float(),
        }
        return CaptionConditions(
            rows=rows,
            ends=rows.ends,
            empty=opened(root, empty).get_tensor("captions"),
            max_tokens=captions["max_tokens"],
            added=added if min(captions["resolution"]) >= _READS_SIZE_FROM else {},
        )

    def __len__(self) -> int:
        return self.index.num_items

    def condition(self, indices: Tensor) -> Condition:
        if isinstance(self.conditions, CaptionConditions):
            return self.conditions.of_captions(indices.tolist())
        return self.conditions.of_labels(self.labels[indices])

    def clean(self, indices: Tensor) -> Tensor:
        """(B, C, h, w), or (B, C, F, h, w) of videos, float32 latents in model units."""
        return torch.cat([self._row(index) for index in indices.tolist()]).float()

    def _row(self, index: int) -> Tensor:
        shard = bisect_right(self._starts, index) - 1
        row = index - self._starts[shard]
        found: Tensor = self._files[shard].get_slice("latents")[row : row + 1]
        return found


class _CaptionRows:
    """The embeddings of all captions as if they were one matrix; a caption lies in one file."""

    def __init__(self, files: Sequence[Any]) -> None:
        ends = [file.get_tensor("caption_ends") for file in files]
        self._files = files
        self._starts = [0, *accumulate(int(each[-1]) for each in ends)]
        self.ends = torch.cat([each + start for each, start in zip(ends, self._starts, strict=False)])

    def __getitem__(self, rows: slice) -> Tensor:
        file = bisect_right(self._starts, rows.start) - 1
        start = self._starts[file]
        found: Tensor = self._files[file].get_slice("captions")[rows.start - start : rows.stop - start]
        return found


def _complete_index(root: Path) -> LatentIndex:
    index = read_index(root)
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
        self.files = sorted(features.glob("*.npy"), key=lambda path: (len(path.stem), path.stem))
        if not self.files:
            raise UserError(f"{features} holds no .npy files", field=_FIELD)
        self.labels = torch.tensor([self._label(labels / file.name) for file in self.files])

    def _label(self, path: Path) -> int:
        label = int(_read(path).reshape(-1)[0])
        if not 0 <= label < self.num_classes:
            raise UserError(f"{path}: label must be 0..{self.num_classes - 1}, but got {label}", field=_FIELD)
        return label

    def clean(self, indices: Tensor) -> Tensor:
        """(B, C, H, W) float32 latents."""
        rows = [_read(self.files[index]) for index in indices.tolist()]
        for index, row in zip(indices.tolist(), rows, strict=True):
            if row.ndim != 4 or row.shape != rows[0].shape:
                raise UserError(f"{self.files[index]} must be (1, C, H, W), but is {row.shape}", field=_FIELD)
        return torch.from_numpy(np.concatenate(rows)).float()


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
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error})", field=_FIELD) from None
    return array
