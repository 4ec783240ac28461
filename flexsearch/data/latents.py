"""Autoencoder latents of images, in the folders that fast-DiT's `extract_features.py` writes."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flexsearch.data.conditions import ClassConditions, Condition
from flexsearch.errors import UserError

_FIELD = "data.root"


class LatentSet:
    """Labelled latents, a `DataSource`: one `.npy` file per image, read when asked for.

    The latents are already multiplied by the autoencoder's scaling factor, as models see them.

    Args:
        root: holds `*_features/N.npy` of shape (1, C, H, W) and `*_labels/N.npy` of shape (1,).

    Raises:
        UserError: the folder does not look like that; says how to make it.
    """

    num_classes = 1000

    def __init__(self, root: Path) -> None:
        features, labels = _only(root, "*_features"), _only(root, "*_labels")
        self.files = sorted(features.glob("*.npy"), key=lambda path: (len(path.stem), path.stem))
        if not self.files:
            raise UserError(f"{features} holds no .npy files", field=_FIELD)
        self.labels = torch.tensor([self._label(labels / file.name) for file in self.files])

    def _label(self, path: Path) -> int:
        label = int(_read(path).reshape(-1)[0])
        if not 0 <= label < self.num_classes:
            raise UserError(f"{path}: label must be 0..{self.num_classes - 1}, but got {label}", field=_FIELD)
        return label

    def __len__(self) -> int:
        return len(self.files)

    @property
    def conditions(self) -> ClassConditions:
        return ClassConditions(num_classes=self.num_classes)

    def condition(self, indices: Tensor) -> Condition:
        return self.conditions.of_labels(self.labels[indices])

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
            f"{root} must hold one folder {pattern}, but has {len(found)}; fast-DiT's extract_features.py "
            "(github.com/chuanyangjin/fast-DiT) writes it from ImageNet",
            field=_FIELD,
        )
    return found[0]


def _read(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error})", field=_FIELD) from None
    return array
