"""Say what the images of a run show: their classes or captions, as far as that is told without reading any data."""

from pathlib import Path

from flexsearch.data.captions import read_lines
from flexsearch.errors import UserError
from flexsearch.paths import resolve_path
from flexsearch.trial.settings import TrialSettings

FASHION_MNIST = (
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""Its classes, in the order of their labels."""
_QUICKSTART = "embedded:quickstart"


def names_of(settings: TrialSettings) -> tuple[str, ...]:
    """Name the conditions of generated images, which have them in turn: captions, or classes by their label.

    Returns:
        The names; () where they are not known, or what tells them is not here any more.
    """
    data = settings.data
    if data.name in ("quickstart", "fashion_mnist") or (
        data.name == "none" and settings.base.checkpoint == _QUICKSTART
    ):
        return FASHION_MNIST
    root = resolve_path(data.root)
    try:
        if data.name == "captions":
            return tuple(read_lines(root))
        if data.name == "images":
            return _folders(root)
        if data.name in ("latents", "imagenet_latents"):
            from flexsearch.data.shards import INDEX, read_index  # torch, which other data need not wait for

            return read_index(root).class_names if (root / INDEX).is_file() else ()
    except (UserError, OSError):
        return ()
    return ()


def _folders(root: Path) -> tuple[str, ...]:
    """List class folders in the order of their labels, as `flexsearch.data.image_folder` does."""
    names = sorted(one.name for one in root.iterdir() if one.is_dir() and not one.name.startswith("."))
    return tuple(sorted(names, key=lambda name: (int(name), name)) if all(map(str.isdecimal, names)) else names)
