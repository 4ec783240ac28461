"""A grid of images with captions: what each column shows above it, what each row is beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SMALLEST_SIDE_PX = 72
"""Smaller images are enlarged by whole factors, pixels kept sharp, so that captions have room."""
_FONT_PX, _LINE_PX = 13, 17
_GAP_PX, _GROUP_GAP_PX, _MARGIN_PX = 2, 12, 10
_MOST_LINES = 3
_WIDEST_SIDE_PX = 150  # of captions beside rows
_INK, _QUIET, _PAPER = "#1a1a1a", "#6b6b6b", "white"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the grid.

    Attributes:
        caption: lines beside it; the first is the loudest.
        images: (n, C, H, W) uint8, C 1 or 3.
        opens_group: whether it stands off from the row above.
    """

    caption: tuple[str, ...]
    images: Tensor
    opens_group: bool = False


def enlargement(height: int, width: int) -> int:
    """Give the whole factor by which images are enlarged."""
    return max(1, ceil(SMALLEST_SIDE_PX / min(height, width)))


def grid_picture(rows: Sequence[Row], *, columns: Sequence[str] = ()) -> Image.Image:
    """Draw rows of images of equal size; `columns` are captions above them. Captions are wrapped to their room."""
    height, width = rows[0].images.shape[-2:]
    factor = enlargement(height, width)
    high, wide = height * factor, width * factor
    font = ImageFont.load_default(_FONT_PX)
    heads = [_wrapped(caption, font, wide) for caption in columns]
    sides = [[part for line in row.caption for part in _wrapped(line, font, _WIDEST_SIDE_PX)] for row in rows]
    left = _MARGIN_PX + ceil(max(font.getlength(line) for lines in sides for line in lines)) + _MARGIN_PX
    top = _MARGIN_PX + _LINE_PX * max((len(lines) for lines in heads), default=0)
    tall = max(high, _LINE_PX * max(len(lines) for lines in sides))
    tops = _tops(rows, top=top, step=tall + _GAP_PX)
    most = max(len(row.images) for row in rows)
    picture = Image.new("RGB", (left + most * (wide + _GAP_PX) + _MARGIN_PX, tops[-1] + tall + _MARGIN_PX), _PAPER)
    pen = ImageDraw.Draw(picture)
    for column, lines in enumerate(heads):
        middle = left + column * (wide + _GAP_PX) + wide / 2
        first = top - _LINE_PX * len(lines) + _LINE_PX // 2 - 2  # captions stand on the images
        for number, line in enumerate(lines):
            pen.text((middle, first + number * _LINE_PX), line, fill=_INK, font=font, anchor="mm")
    for row, lines, y in zip(rows, sides, tops, strict=True):
        first = y + (tall - _LINE_PX * len(lines)) // 2 + _LINE_PX // 2
        for number, line in enumerate(lines):
            place = (left - _MARGIN_PX, first + number * _LINE_PX)
            pen.text(place, line, fill=_QUIET if number else _INK, font=font, anchor="rm")
        for column, image in enumerate(row.images):
            shown = _as_image(image).resize((wide, high), Image.Resampling.NEAREST)
            picture.paste(shown, (left + column * (wide + _GAP_PX), y + (tall - high) // 2))
    return picture


def _tops(rows: Sequence[Row], *, top: int, step: int) -> list[int]:
    """Compute where each row begins, in pixels."""
    tops: list[int] = []
    for number, row in enumerate(rows):
        gap = _GROUP_GAP_PX if number and row.opens_group else 0
        tops.append(top if not number else tops[-1] + step + gap)
    return tops


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> list[str]:
    """Wrap into lines of words that fit the width; what is more than a few lines ends in an ellipsis."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    cut = (
        lines[:_MOST_LINES] if len(lines) <= _MOST_LINES else [*lines[: _MOST_LINES - 1], f"{lines[_MOST_LINES - 1]} …"]
    )
    return [_shortened(line, font, width_px) for line in cut]


def _shortened(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> str:
    while font.getlength(line) > width_px and len(line) > 1:
        line = line.removesuffix("…").rstrip()[:-1] + "…"
    return line


def _as_image(image: Tensor) -> Image.Image:
    """Make (C, H, W) uint8 a colour image."""
    colour = image.expand(3, -1, -1) if len(image) == 1 else image
    return Image.fromarray(colour.permute(1, 2, 0).to(torch.uint8).cpu().numpy())
