"""Pictures in files, opened in one way for training, encoding and references: what a viewer shows, in 8 bits.

Turned as its EXIF entry says, the first frame, 16 bits scaled to 8, what is transparent laid on white. Colour profiles
are not applied, as by torch-fidelity and torchvision. What cannot be shown so is refused, by the file's name.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps

from flexsearch.errors import UserError, reading

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".ppm", ".pgm", ".pbm", ".pnm", ".bmp", ".tif", ".tiff", ".webp"),
    *(".gif", ".avif", ".jp2", ".tga"),
)
"""Names of files that are pictures."""

OPENING = "turned by EXIF, 8 bits, on white"
"""Describes `open_picture` in protocols, and tells what was made with it from what was made before."""

_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_BITS, _WHITE_IS_ZERO = 258, 262  # tags of TIFF: bits of a level; photometric interpretation, 0 where 0 is white
_SAMPLE_FORMAT, _SIGNED = 339, 2  # another, and what it says of levels with a sign
_SCALED = {"L;2": 85, "L;4": 17}  # by which Pillow multiplies the levels of PNG
_NAMED = 10  # broken files in one error
_SCANNED_AT_ONCE = 1024


def open_picture(path: Path) -> Image.Image:
    """Open a picture as it is shown: upright, of mode "L" if it is grey, else "RGB".

    Raises:
        UserError: the file is no image, a damaged one, or its levels have no known scale; names it.
    """
    with (
        reading(path, rule="cannot be read as an image", advice="put a whole one in its place"),
        Image.open(path) as image,
    ):
        most, is_inverted = _scale(image)
        _mend_transparency(image)
        image.load()
        return _in_8_bits(ImageOps.exif_transpose(image), most=most, is_inverted=is_inverted)


def scan_pictures(files: Iterable[Path]) -> bool:
    """Read the headers of all files, and tell whether all are grey.

    Raises:
        UserError: some are no images; names the first ten, and says how many there are.
    """
    all_grey, broken, first = True, list[Path](), None
    with ThreadPoolExecutor() as readers:
        for chunk in _chunks(list(files)):
            for path, found in zip(chunk, readers.map(_is_grey, chunk), strict=True):
                if isinstance(found, UserError):
                    broken.append(path)
                    first = first or found
                else:
                    all_grey &= found
    if first is not None and len(broken) == 1:
        raise first
    if first is not None:
        names = ", ".join(path.name for path in broken[:_NAMED])
        raise UserError(
            f"holds {len(broken)} files that cannot be read as images: {names}"
            f"{', ...' if len(broken) > _NAMED else ''}; put whole ones in their place",
            field=str(broken[0].parent),
        )
    return all_grey


def _is_grey(path: Path) -> bool | UserError:
    try:
        with (
            reading(path, rule="cannot be read as an image", advice="put a whole one in its place"),
            Image.open(path) as image,
        ):
            return image.mode in _GREY
    except UserError as error:
        return error


def _chunks(files: Sequence[Path]) -> Iterable[Sequence[Path]]:
    return (files[start : start + _SCANNED_AT_ONCE] for start in range(0, len(files), _SCANNED_AT_ONCE))


def _scale(image: Image.Image) -> tuple[float, bool]:
    """Give the level that is white in a deep picture, and whether Pillow leaves it to us that 0 is.

    Raises:
        UserError: it has levels of 16 bits with a sign, of which none is known to be white.
    """
    tags = getattr(image, "tag_v2", {})  # of TIFF
    if tags.get(_BITS) == (16,) and tags.get(_SAMPLE_FORMAT) == (_SIGNED,):
        raise UserError("levels of 16 bits with a sign have no known white; save it without the sign")
    bits = tags.get(_BITS, (16,))[0] if image.mode.startswith("I;16") else 16
    return (1.0 if image.mode == "F" else 2.0**bits - 1), tags.get(_WHITE_IS_ZERO, 1) == 0


def _mend_transparency(image: ImageFile.ImageFile) -> None:
    """Give the transparent level of a PNG the scale of its levels, which Pillow brings to 8 bits.

    Raises:
        UserError: it has one in 16 bits, and levels lost what tells it from others.
    """
    clear = image.info.get("transparency")
    raw = image.tile[0][3] if image.format == "PNG" and image.tile else None
    if raw == "RGB;16B" and clear is not None:
        raise UserError("a colour of 16 bits is transparent, which cannot be shown; save it with an alpha channel")
    if raw in _SCALED and isinstance(clear, int):
        image.info["transparency"] = clear * _SCALED[raw]


def _in_8_bits(image: Image.Image, *, most: float, is_inverted: bool) -> Image.Image:
    is_grey, clear = image.mode in _GREY, image.info.get("transparency")
    if image.mode[0] in "IF":
        levels = np.asarray(image).astype(np.float64)
        if not (np.isfinite(levels).all() and levels.min() >= 0 and levels.max() <= most):
            raise UserError(f"levels must be in 0 to {most:g}, but are in {levels.min():g} to {levels.max():g}")
        shown = ((most - levels if is_inverted else levels) * (255 / most)).round()
        if isinstance(clear, int):
            shown[levels == clear] = 255
        return Image.fromarray(shown.astype(np.uint8))
    if clear is not None or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        above = image.convert("LA" if image.mode == "La" else image.mode).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), above)
    return image.convert("L" if is_grey else "RGB")
