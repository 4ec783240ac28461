"""Put images of a run side by side: the dense base, the paper's schedule, what one would choose, from equal noise.

All trials of a study draw from the same noise and the same labels, so equal places of two grids are the same sample.
"""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from flexsearch.errors import UserError
from flexsearch.report.choice import find_knee
from flexsearch.report.front import Front
from flexsearch.report.gain import gain_of
from flexsearch.report.points import FrontPoint
from flexsearch.report.run import Run
from flexsearch.report.speedup import rivals

_WIDEST_PX = 1600  # of a grid of images in the page; wider ones are scaled down


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """A grid of images of one trial; `source` is a data URL."""

    title: str
    facts: str
    source: str
    is_small: bool


def shown_trials(front: Front, found: FrontPoint | None) -> dict[int, str]:
    """Choose whose images are shown, and say why: baselines and the trials that one would choose, slowest first."""
    known = front.best_known
    why: dict[int, str] = {}
    if known.dense:
        why[known.dense[-1].record.number] = "dense base"
    for record in front.paper:
        why.setdefault(record.number, record.baseline or "")
    if found is not None:
        why.setdefault(found.record.number, "fastest beside what is free at equal quality")
        why.setdefault(rivals(known, found)[-1].record.number, "training-free baseline of equal quality")
        if (as_fast := gain_of(known, found).rival) is not None:
            why.setdefault(as_fast.record.number, "best training-free baseline that is as fast")
    try:
        knee = find_knee(known.best).record
    except UserError:  # a front of one or two points has none
        knee = None
    if knee is not None and knee.baseline is None:
        why.setdefault(knee.number, "knee of the front")
    if known.searched:
        why.setdefault(known.searched[-1].record.number, "best searched quality")
    ordered = sorted(why, key=lambda number: -front.values(front.complete[number])[-1])
    return {number: why[number] for number in ordered}


def galleries(run: Run, front: Front, found: FrontPoint | None) -> Iterator[Gallery]:
    """Make the galleries of the trials that have images."""
    for number, why in shown_trials(front, found).items():
        path = run.folder / "trials" / str(number) / "samples.png"
        if not path.exists():
            continue
        source, is_small = data_url(path)
        yield Gallery(
            title=f"{why[0].upper()}{why[1:]}",
            facts=f"trial {number}, {facts(front, number)}",
            source=source,
            is_small=is_small,
        )


def facts(front: Front, number: int) -> str:
    """Say sampling, quality and latency of a trial in one line."""
    row = front.row(front.complete[number])
    shown = row.printed
    return f"{shown['sampling']}, {front.objectives[0].name} {shown['quality']}, {shown['latency']} ms/image"


def data_url(path: Path) -> tuple[str, bool]:
    """Give an image as a data URL, at most `_WIDEST_PX` wide, and whether it is small enough to be shown enlarged."""
    with Image.open(path) as image:
        width, height = image.size
        if width <= _WIDEST_PX:
            return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}", width < _WIDEST_PX // 3
        smaller = image.convert("RGB").resize(
            (_WIDEST_PX, round(height * _WIDEST_PX / width)), Image.Resampling.LANCZOS
        )
    written = io.BytesIO()
    smaller.save(written, format="JPEG", quality=92)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}", False
