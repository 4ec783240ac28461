"""One image file as square pixels: ADM's centre crop (Dhariwal and Nichol 2021, arXiv 2105.05233), which DiT uses."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from flexsearch.errors import UserError


def read_cropped(path: Path, size: int) -> Tensor:
    """The middle of an image file, (3, size, size) uint8 RGB.

    Raises:
        UserError: the file is no image, or a damaged one; names it.
    """
    try:
        with Image.open(path) as image:
            pixels = np.array(_cropped(image.convert("RGB"), size))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"cannot be read as an image ({reason}); put a whole one in its place", field=str(path)
        ) from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _cropped(image: Image.Image, size: int) -> Image.Image:
    """The shorter side is halved while it stays at least `size`, then resampled to it; the middle square is kept."""
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), resample=Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), resample=Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))
