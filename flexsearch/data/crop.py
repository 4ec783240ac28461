"""Pictures as pixels of a given shape: ADM's centre crop (Dhariwal and Nichol 2021, arXiv 2105.05233), which DiT uses.

C, H, W: channels, 1 or 3, and pixels of the result.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flexsearch.data.pictures import OPENING, open_picture

PREPARATION = f"{OPENING}, centre crop and PIL resize (box halving, then bicubic), as ADM"
"""Describes `read_cropped` in protocols."""

_MOST_RATIO = 8  # of sides: further out nothing of a picture is seen, and memory would go with its length


def read_cropped(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Read an image file and crop its middle to `shape` (C, H, W), uint8.

    Raises:
        UserError: the file is no image, or a damaged one; names it.
    """
    return centre_crop(open_picture(path), shape)


def centre_crop(image: Image.Image, shape: tuple[int, ...]) -> Tensor:
    """Crop a picture to (C, H, W) uint8: halve it while twice as large, resize bicubically, cut out the middle.

    For H = W this is `center_crop_arr` of ADM and DiT. Other sides are treated alike: the picture is resized until it
    just covers them. Of a strip the middle is taken first.
    """
    channels, height, width = shape
    image = _middle(image, max(_MOST_RATIO, 2 * height // width, 2 * width // height))
    image = image.convert("RGB" if channels == 3 else "L")
    while image.width >= 2 * width and image.height >= 2 * height:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = max(width / image.width, height / image.height)
    size = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    pixels = np.array(image.crop((left, top, left + width, top + height)))
    return torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1)


def _middle(image: Image.Image, ratio: int) -> Image.Image:
    """Cut a picture whose sides are further apart than 1 to `ratio` to its middle."""
    width, height = min(image.width, ratio * image.height), min(image.height, ratio * image.width)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
