"""The confirmation as text: searched and confirmed values side by side, and what became of each point."""

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from flexsearch.report.confirmation import Confirmation, Interval
from flexsearch.report.front import Front


def confirmed_table(front: Front, confirmation: Confirmation) -> Table:
    """One row per candidate that was measured again, fastest first; candidates off the searched front are dim."""
    quality = front.objectives[0]
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        title=f"{front.study}, measured again: {len(confirmation.seeds)} seeds of {confirmation.images} images",
        title_justify="left",
    )
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("schedule", overflow="fold", min_width=10)
    name, images = quality.name.replace("_", "\n"), quality.protocol.get("images")
    columns = [f"{name}\nat {images}", f"at {confirmation.images}", "at infinity", "ms/image", "on the front"]
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for record in front.confirmed:
        again = confirmation.points[record.number]
        table.add_row(
            str(record.number),
            record.baseline or str(record.candidate),
            f"{front.values(record)[0]:.2f}",
            _shown(again.quality),
            "" if again.at_infinity is None else _shown(again.at_infinity),
            _shown(again.latency),
            f"{again.front_probability:.0%}\n{again.verdict}",
            style=None if record in front.points else "dim",
        )
    return table


def _shown(found: Interval) -> str:
    return f"{found.value:.4g} ±{found.half_width:.2g}"


def confirmed_lines(front: Front, confirmation: Confirmation) -> list[str]:
    """What the table says of the points that the search had put on its front."""
    quality = front.objectives[0]
    searched = [record for record in front.points if record.baseline is None]
    verdicts = {
        record.number: confirmation.points[record.number].verdict
        for record in searched
        if record.number in confirmation.points
    }
    counts = [f"{list(verdicts.values()).count('stands')} stand"]
    for verdict in ("within noise", "did not stand"):
        numbers = [str(number) for number, found in verdicts.items() if found == verdict]
        counts.append(f"{len(numbers)} {verdict}" + (f" (trial {', '.join(numbers)})" if numbers else ""))
    gained = [
        str(record.number)
        for record in front.confirmed
        if record not in front.points and confirmation.points[record.number].verdict == "stands"
    ]
    lines = [
        f"Of {len(verdicts)} searched points of the front that were measured again, {', '.join(counts)}. ± 95 %; "
        "on the front: the probability that no other of these is better in both."
    ]
    if gained:
        lines.append(f"Not on the searched front, but on this one: trial {', '.join(gained)}.")
    own, common = f"{confirmation.paired_noise:.2g}", f"{confirmation.common_noise:.2g}"
    lines.append(
        f"Noise of {quality.name} under one seed of {confirmation.images} images: {own} of its own, {common} that all "
        f"share (sd, of the median candidate); of one latency: {confirmation.latency_noise:.1%}."
    )
    return lines


def confirmed_frame(front: Front, confirmation: Confirmation) -> pd.DataFrame:
    """The confirmation, one row per candidate, fastest first."""
    rows = []
    for record in front.confirmed:
        again = confirmation.points[record.number]
        row: dict[str, object] = {"trial": record.number, "confirmed_images": confirmation.images}
        row["confirmed_seeds"] = len(confirmation.seeds)
        for name, found in (("quality", again.quality), ("infinity", again.at_infinity), ("latency_ms", again.latency)):
            if found is not None:
                row |= {f"confirmed_{name}{end}": getattr(found, end[1:] or "value") for end in ("", "_low", "_high")}
        rows.append({**row, "front_probability": again.front_probability, "verdict": again.verdict})
    return pd.DataFrame(rows)
