"""Real images: pictures of a folder, an array in a file, or the training data of a run.

C, H, W: channels and pixels of the generated images, to which folders and arrays are brought. Videos have F frames
between C and H.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flexsearch.data.crop import PREPARATION, centre_crop, read_cropped
from flexsearch.data.folder import list_folders
from flexsearch.data.identity import files_digest
from flexsearch.data.images import to_uint8
from flexsearch.data.pictures import SUFFIXES, scan_pictures
from flexsearch.data.source import DataSource
from flexsearch.errors import UserError, reading
from flexsearch.measurement import short_digest
from flexsearch.objectives.features import Images
from flexsearch.objectives.reference_file import FIELD

Shape = tuple[int, ...]


class RealImages(Images, Protocol):
    """Images that are identified without reading them."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Identifies them, on every machine alike, for protocols. JSON values."""

    @property
    def version(self) -> str:
        """Changes, on this machine, when the images do."""

    @property
    def preparation(self) -> str | None:
        """How the images were resized or drawn, for protocols; None if they were neither."""


@dataclass(frozen=True, kw_only=True)
class FolderImages:
    """Pictures in files, read when asked for.

    Attributes:
        root: their folder.
        files: their paths below it.
        shape: (C, H, W) to which they are brought.
    """

    root: Path
    files: tuple[Path, ...]
    shape: Shape
    preparation: str | None = PREPARATION

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: slice) -> Tensor:
        with reading(FIELD):
            return torch.stack([read_cropped(self.root / file, self.shape) for file in self.files[rows]])

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"folder": files_digest(self.root, self.files), "shape": list(self.shape)}

    @property
    def version(self) -> str:
        return short_digest([(self.root / file).stat().st_mtime_ns for file in self.files])


def list_folder(root: Path) -> tuple[Path, ...]:
    """List the pictures in and below a folder, sorted.

    Raises:
        UserError: fewer than two, or some that are no images; names them.
    """
    found = [folder.path / name for folder in list_folders(root, suffixes=SUFFIXES) for name in folder.files]
    if len(found) < 2:
        raise UserError(
            f"must hold at least 2 images ({', '.join(SUFFIXES)}), but has {len(found)}", field=f"{FIELD}: {root}"
        )
    with reading(FIELD):
        scan_pictures(root / file for file in found)
    return tuple(sorted(found))


@dataclass(frozen=True, kw_only=True)
class ArrayImages:
    """Pictures (N, H, W, 3) uint8 of a file, as ADM's `arr_0`.

    Attributes:
        array: the pictures.
        path: the file.
        shape: (C, H, W) to which they are brought.
    """

    array: np.ndarray
    path: Path
    shape: Shape

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: slice) -> Tensor:
        if self.preparation is None:
            return torch.from_numpy(self.array[rows]).permute(0, 3, 1, 2)
        return torch.stack([centre_crop(Image.fromarray(pixels), self.shape) for pixels in self.array[rows]])

    @property
    def preparation(self) -> str | None:
        channels, height, width = self.shape
        return None if self.array.shape[1:] == (height, width, channels) else PREPARATION

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"file": self.path.name, "bytes": self.path.stat().st_size, "shape": list(self.shape)}

    @property
    def version(self) -> str:
        return short_digest(self.path.stat().st_mtime_ns)


@dataclass(frozen=True, kw_only=True)
class TrainingImages:
    """`num` of the training data, evenly spaced over all of them: data sorted by class are all in it.

    Attributes:
        data: the training data.
        decode: from data on `device` to images in [-1, 1].
        device: where decoding runs.
        num: how many; all if there are fewer.
        source: identifies data and decoder; JSON values.
    """

    data: DataSource
    decode: Callable[[Tensor], Tensor]
    device: torch.device
    num: int
    source: Mapping[str, Any] = field(default_factory=dict)
    preparation: str | None = None

    def __len__(self) -> int:
        return min(self.num, len(self.data))

    def __getitem__(self, rows: slice) -> Tensor:
        chosen = torch.arange(len(self))[rows] * len(self.data) // len(self)
        return to_uint8(self.decode(self.data.clean(chosen).to(self.device))).cpu()

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"source": dict(self.source), "images": len(self), "of": len(self.data)}

    @property
    def version(self) -> str:
        first = self.data.clean(torch.arange(min(4, len(self.data)))).contiguous()
        return hashlib.sha256(first.numpy().tobytes()).hexdigest()[:12]
