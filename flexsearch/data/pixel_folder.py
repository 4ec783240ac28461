"""Class folders of images, as pixels in memory: for small data and bases that work on pixels."""

from pathlib import Path

import torch

from flexsearch.data.image_folder import open_image_folder
from flexsearch.data.images import ImageSet
from flexsearch.data.pictures import scan_pictures
from flexsearch.data.read_ahead import read_ahead
from flexsearch.errors import reading

_CHUNK = 256


def load_pixels(root: Path, *, size: int) -> ImageSet:
    """Load the images of `root/<class>/**`, cropped as by `flexsearch encode`: one channel if all are grey, else three.

    Args:
        root: the folder.
        size: pixels per side of the centre crop.

    Raises:
        UserError: the folder has no class folders, or a file is no image; names it.
    """
    with reading("data.root"):
        folder = open_image_folder(root, captions=False)
    files = [root / name for name in folder.names]
    shape = (1 if scan_pictures(files) else 3, size, size)
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    return ImageSet(
        images=torch.cat(list(read_ahead(chunks, shape))),
        labels=torch.tensor(folder.labels),
        num_classes=len(folder.class_names),
    )
