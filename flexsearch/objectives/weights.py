"""Weight files of feature networks: fetched once, known by their SHA-256, and read as tensors only.

PyTorch's own files are pickles. They are read with `weights_only=True`, which builds tensors and refuses everything
else, so no file that a user supplies can run code.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flexsearch.errors import UserError, reading
from flexsearch.files import file_sha256
from flexsearch.models.pretrained import check_finite

FIELD = "objectives.quality.weights"


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """Weights that their authors publish under a fixed address.

    Attributes:
        url: where they are fetched from.
        sha256: the beginning of the file's SHA-256.
    """

    url: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where they are kept: torch hub's folder, which other programs share."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rsplit("/", 1)[-1]


def existing(weights: str) -> Path:
    """Find a weight file that the user names.

    Raises:
        UserError: there is no such file.
    """
    path = Path(weights).expanduser()
    if not path.is_file():
        raise UserError("does not exist", field=f"{FIELD}: {path}")
    return path


def check_sha256(path: Path, expected: str) -> None:
    """Compare a file's SHA-256 with `expected`, or with its beginning.

    Raises:
        UserError: they differ; shows both.
    """
    found = file_sha256(path)
    if not expected or not found.startswith(expected.lower()):
        raise UserError(f"must have a SHA-256 that starts with {expected!r}, but got {found}", field=f"{FIELD}: {path}")


def published(weights: PublishedWeights, *, path: Path | None = None) -> Path:
    """Find published weights: `path` if the user has one, else torch hub's copy, else fetched. Always checked.

    Raises:
        UserError: the file is not the published one, or cannot be fetched; says how to supply it.
    """
    if path is None:
        path = weights.path
        if not path.exists():
            _fetch(weights)
    check_sha256(path, weights.sha256)
    return path


def _fetch(weights: PublishedWeights) -> None:
    weights.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(weights.url, str(weights.path), hash_prefix=weights.sha256, progress=False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{weights.url} could not be downloaded ({' '.join(str(error).split())}); fetch it elsewhere and put it at "
            f"{weights.path}, or give it as {FIELD}",
            field="objectives.quality.extractor",
        ) from None


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a PyTorch weight file, by name, on the CPU.

    Raises:
        UserError: the file is damaged, or holds more than tensors.
    """
    with reading(f"{FIELD}: {path}", rule="cannot be read as tensors"):
        found = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
            raise UserError(f"must hold tensors by name, but got {type(found).__name__}")
        check_finite(found)
    return found
