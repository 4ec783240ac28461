"""Images of a run side by side: the dense base, the paper's schedule and what one would choose, from equal noise.

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
from flexsearch.report.evidence import evidence_of
from flexsearch.report.front import Front
from flexsearch.report.headline import Headline
from flexsearch.report.run import Run

_WIDEST_PX = 1600  # of a grid of images in the page; wider ones are scaled down


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """A grid of images of one trial; `source` is a data URL."""

    title: str
    facts: str
    source: str
    is_small: bool


def shown_trials(front: Front, found: Headline) -> dict[int, str]:
    """Whose images are put side by side, and why: baselines and the trials that one would choose, slowest first."""
    evidence = evidence_of(front)
    best = [one.record for one in evidence.best if one.record.baseline is None]
    dense = [one.record for one in evidence.dense]
    why: dict[int, str] = {}
    if dense:
        why[dense[-1].number] = "dense base"
    for record in front.baselines:
        if not record.candidate.schedule.is_dense:
            why.setdefault(record.number, record.baseline or "")
    if found.known is not None:
        why.setdefault(found.known.record.number, "largest gain over fewer steps")
        limit = found.known.latency_ms
        nearest = min(evidence.dense, key=lambda one: abs(one.latency_ms - limit), default=None)
        if nearest is not None:
            why.setdefault(nearest.record.number, "dense base at the nearest latency to that")
    try:
        knee = find_knee(evidence.best).record
    except UserError:  # a front of one or two points has none
        knee = None
    if knee is not None and knee.baseline is None:
        why.setdefault(knee.number, "knee of the front")
    if best:
        why.setdefault(best[-1].number, "best searched quality")
    complete = front.complete
    ordered = sorted(why, key=lambda number: -front.values(complete[number])[-1])
    return {number: why[number] for number in ordered}


def galleries(run: Run, front: Front, found: Headline) -> Iterator[Gallery]:
    for number, why in shown_trials(front, found).items():
        path = run.folder / "trials" / str(number) / "samples.png"
        if not path.exists():
            continue
        record = front.complete[number]
        quality, latency = front.values(record)
        source, is_small = data_url(path)
        yield Gallery(
            title=f"{why[0].upper()}{why[1:]}",
            facts=f"trial {number}, {record.candidate.sampling.steps} steps, {latency:.3g} ms/image, "
            f"{front.objectives[0].name} {quality:.2f}",
            source=source,
            is_small=is_small,
        )


def data_url(path: Path) -> tuple[str, bool]:
    """An image as a data URL, at most `_WIDEST_PX` wide, and whether its pixels are few enough to be shown enlarged."""
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
