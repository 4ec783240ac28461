"""Put images of a run side by side: the dense base, what one would choose, and what is free at its latency.

All trials of a study draw from the same noise and the same labels, so equal places of two grids are the same sample.
A grid has ten images to a row; a strip is its first row.
"""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from flexsearch.report.front import Front
from flexsearch.report.points import FrontPoint
from flexsearch.report.row import three_digits
from flexsearch.report.run import Run
from flexsearch.report.speedup import rivals
from flexsearch.study.evenly import evenly

MOST_STRIPS = 200
"""Trials whose strips are in the page, baselines and the front first."""
_WIDEST_PX, _WIDEST_STRIP_PX = 1600, 640
_SMALL_PX = 400  # what is no wider is kept to the bit, and shown enlarged
_QUALITY = 82
_COLUMNS = 10


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Images of a trial; `source` is a data URL."""

    source: str
    is_small: bool
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """A grid of images of one trial."""

    title: str
    facts: str
    picture: Picture


def shown_trials(front: Front, found: FrontPoint | None) -> dict[int, str]:
    """Choose whose grids are shown, and say why: the dense base, what one would choose, what is free at its latency."""
    known = front.best_known
    why: dict[int, str] = {}
    if known.dense:
        why[known.dense[-1].record.number] = "dense base"
    chosen = found or (known.searched[-1] if known.searched else None)
    if chosen is not None:
        why.setdefault(chosen.record.number, "found by the search")
        if known.dense:
            nearest = min(known.dense, key=lambda one: abs(one.latency_ms - chosen.latency_ms))
            why.setdefault(nearest.record.number, "dense base at the nearest latency")
        if found is not None:
            why.setdefault(rivals(known, found)[-1].record.number, "training-free baseline of equal quality")
    for one in known.points:
        if one.record in front.paper:
            why.setdefault(one.record.number, "published schedule")
            break
    return why


def galleries(run: Run, front: Front, found: FrontPoint | None) -> Iterator[Gallery]:
    """Make the galleries of the trials that have images."""
    for number, why in shown_trials(front, found).items():
        path = samples_of(run, number)
        if path.exists():
            yield Gallery(
                title=f"{why[0].upper()}{why[1:]}",
                facts=f"trial {number}, {facts(front, number)}",
                picture=read_picture(path, is_strip=False),
            )


def strips(run: Run, front: Front, points: list[FrontPoint]) -> dict[int, Picture]:
    """Make the strips of at most `MOST_STRIPS` points that have images, by trial."""
    there = [one for one in points if samples_of(run, one.record.number).exists()]
    first = {one.record.number for one in there if one.record.baseline or one.record.number in front.on_front}
    chosen = evenly([one for one in there if one.record.number in first], MOST_STRIPS)
    chosen += evenly([one for one in there if one.record.number not in first], MOST_STRIPS - len(chosen))
    paths = {one.record.number: samples_of(run, one.record.number) for one in chosen}
    return {number: read_picture(path, is_strip=True) for number, path in paths.items()}


def samples_of(run: Run, number: int) -> Path:
    """Give where a trial keeps the images that it draws first."""
    return run.folder / "trials" / str(number) / "samples.png"


def facts(front: Front, number: int) -> str:
    """Say sampling, quality and latency of a trial in one line, with the values that are known best."""
    again = front.best_known.by_number.get(number)
    point = again or front.as_searched.by_number[number]
    values = f"{front.objectives[0].name} {point.distance:.2f}, {three_digits(point.latency_ms)} ms/image"
    return f"{point.record.candidate.sampling}, {values}{'' if again else ', not measured again'}"


def read_picture(path: Path, *, is_strip: bool) -> Picture:
    """Read a grid of images, or its first row, and scale it down to what a page can carry."""
    return _picture(path, path.stat().st_mtime_ns, is_strip)


@lru_cache(maxsize=2 * MOST_STRIPS)
def _picture(path: Path, _: int, is_strip: bool) -> Picture:
    with Image.open(path) as image:
        shown = image.convert("RGB")
    if is_strip:
        shown = shown.crop((0, 0, shown.width, _row_height(shown.width, shown.height)))
    is_small, widest = shown.width <= _SMALL_PX, _WIDEST_STRIP_PX if is_strip else _WIDEST_PX
    if shown.width > widest:
        shown = shown.resize((widest, max(1, round(shown.height * widest / shown.width))), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    shown.save(written, format="WEBP", lossless=is_small, quality=100 if is_small else _QUALITY, method=4)
    source = f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode()}"
    return Picture(source=source, is_small=is_small, width=shown.width, height=shown.height)


def _row_height(width: int, height: int) -> int:
    """Give the height of the first row of a grid of squares with one pixel between them; else that of all."""
    side = (width - 1) // _COLUMNS
    is_grid = side > 0 and (width - 1) % _COLUMNS == 0 and (height - 1) % side == 0
    return side + 1 if is_grid else height
