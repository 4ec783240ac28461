"""Class folders of images, as pixels in memory: for small data and bases that work on pixels."""

from pathlib import Path

import torch
from PIL import Image

from flexsearch.data.image_folder import open_image_folder
from flexsearch.data.images import ImageSet
from flexsearch.data.read_ahead import read_ahead
from flexsearch.errors import UserError

_GREY = ("1", "L", "LA", "I", "I;16")
_CHUNK = 256


def load_pixels(root: Path, *, size: int) -> ImageSet:
    """Load the images of `root/<class>/**`, cropped as by `flexsearch encode`: one channel if all are grey, else three.

    Args:
        root: the folder.
        size: pixels per side of the centre crop.

    Raises:
        UserError: the folder has no class folders, or a file is no image; names it.
    """
    try:
        folder = open_image_folder(root, captions=False)
    except UserError as error:
        raise error.under("data.root") from None
    files = [root / name for name in folder.names]
    shape = (1 if all(map(_is_grey, files)) else 3, size, size)
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    return ImageSet(
        images=torch.cat(list(read_ahead(chunks, shape))),
        labels=torch.tensor(folder.labels),
        num_classes=len(folder.class_names),
    )


def _is_grey(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode in _GREY
    except (OSError, SyntaxError):
        return True  # the reader names the file
