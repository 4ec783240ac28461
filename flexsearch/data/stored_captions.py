"""Embedded captions in the files of an encoded folder (`flexsearch.data.shards`), checked against its index.

D: channels of an embedding, P of a pooled one.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flexsearch.data.shards import POOLED, StoredFile, check_rows, opened
from flexsearch.errors import UserError, reading


class StoredCaptions:
    """The embeddings of all captions as if they were one matrix (sum of lengths, D); a caption lies in one file.

    Args:
        root: the folder.
        shards: its files, in order.
        channels: D.

    Attributes:
        ends: (N,) int64, where each caption ends.

    Raises:
        UserError: a file holds other captions than its index says; names it.
    """

    def __init__(self, root: Path, shards: Sequence[StoredFile], *, channels: int) -> None:
        self._files = [opened(root, shard) for shard in shards]
        self._paths = [root / shard.file for shard in shards]
        ends = [
            _ends(file, path, num=shard.items)
            for file, path, shard in zip(self._files, self._paths, shards, strict=True)
        ]
        for file, path, each in zip(self._files, self._paths, ends, strict=True):
            check_rows(file, "captions", (int(each[-1]), channels), path=path)
        self._starts = [0, *accumulate(int(each[-1]) for each in ends)]
        self.ends = torch.cat([each + start for each, start in zip(ends, self._starts, strict=False)])

    def __getitem__(self, rows: slice) -> Tensor:
        file = bisect_right(self._starts, rows.start) - 1
        start = self._starts[file]
        with reading(self._paths[file]):
            return _checked(self._files[file].get_slice("captions")[rows.start - start : rows.stop - start])


class StoredPooled:
    """The pooled vectors of all captions as if they were one matrix (N, P); rows are read when they are asked for.

    Args:
        root: the folder.
        shards: its files, in order.
        channels: P.

    Raises:
        UserError: a file holds other vectors than its index says; names it.
    """

    def __init__(self, root: Path, shards: Sequence[StoredFile], *, channels: int) -> None:
        self._files = [opened(root, shard) for shard in shards]
        self._paths = [root / shard.file for shard in shards]
        self._starts = [0, *accumulate(shard.items for shard in shards)]
        for file, path, shard in zip(self._files, self._paths, shards, strict=True):
            check_rows(file, POOLED, (shard.items, channels), path=path)

    def __getitem__(self, rows: list[int]) -> Tensor:
        return torch.cat([self._row(row) for row in rows])

    def _row(self, row: int) -> Tensor:
        file = bisect_right(self._starts, row) - 1
        with reading(self._paths[file]):
            index = row - self._starts[file]
            return _checked(self._files[file].get_slice(POOLED)[index : index + 1]).float()


def empty_caption(root: Path, stored: StoredFile, *, channels: int) -> Tensor:
    """Read the embedding of the empty caption, (length, D).

    Raises:
        UserError: it is none; names the file.
    """
    file, path = opened(root, stored), root / stored.file
    with reading(path):
        found: Tensor = file.get_tensor("captions")
        check_rows(file, "captions", (len(found), channels), path=path)
        return _checked(found)


def _ends(file: Any, path: Path, *, num: int) -> Tensor:
    with reading(path):
        ends: Tensor = file.get_tensor("caption_ends")
        if ends.shape != (num,) or ends.dtype != torch.int64:
            raise UserError(f"must hold one end for each of {num} captions, but has {tuple(ends.shape)}")
        if int(torch.diff(ends, prepend=ends.new_zeros(1)).min()) < 1:
            raise UserError("holds a caption that ends before it begins")
        return ends


def _checked(rows: Tensor) -> Tensor:
    if not rows.is_floating_point() or not torch.isfinite(rows.float()).all():
        raise UserError("holds a caption whose numbers are not finite floats")
    return rows
