"""Pictures as pixels of a given shape: ADM's centre crop (Dhariwal and Nichol 2021, arXiv 2105.05233), which DiT uses.

C, H, W: channels, 1 or 3, and pixels of the result.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flexsearch.errors import UserError

PREPARATION = "centre crop and PIL resize (box halving, then bicubic), as ADM"
"""Describes `centre_crop` in protocols."""


def read_cropped(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Read an image file and crop its middle to `shape` (C, H, W), uint8.

    Raises:
        UserError: the file is no image, or a damaged one; names it.
    """
    try:
        with Image.open(path) as image:
            return centre_crop(image, shape)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"cannot be read as an image ({reason}); put a whole one in its place", field=str(path)
        ) from None


def centre_crop(image: Image.Image, shape: tuple[int, ...]) -> Tensor:
    """Crop a picture to (C, H, W) uint8: halve it while twice as large, resize bicubically, cut out the middle.

    For H = W this is `center_crop_arr` of ADM and DiT. Other sides are treated alike: the picture is resized until it
    just covers them.
    """
    channels, height, width = shape
    image = image.convert("RGB" if channels == 3 else "L")
    while image.width >= 2 * width and image.height >= 2 * height:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = max(width / image.width, height / image.height)
    size = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    pixels = np.array(image.crop((left, top, left + width, top + height)))
    return torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1)
