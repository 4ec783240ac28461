"""Speed-ups over our own dense model, beside what the multiply-accumulates allow."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from measure import Row


def draw(rows: list[Row], machine: dict[str, Any], path: Path) -> None:
    """One group of bars per model and way of compiling."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(f"{row.model}\n{row.compiled}", []).append(row)
    figure, axes = plt.subplots(figsize=(max(7.0, 2.2 * len(groups)), 5), dpi=150)
    place, ticks = 0.0, []
    for name, group in groups.items():
        first = place
        for row in group:
            color = (
                "#8a949c" if row.implementation == "diffusers" else "#444444" if row.schedule == "dense" else "#0b6e99"
            )
            axes.bar(place, row.speedup, color=color, width=0.8)
            axes.hlines(row.allowed, place - 0.4, place + 0.4, color="#d1495b", linewidth=2)
            axes.text(place, row.speedup, f"{row.speedup:.2f}", ha="center", va="bottom", fontsize=8)
            axes.text(place, 0.03, _short(row), rotation=90, ha="center", va="bottom", fontsize=7, color="white")
            place += 1
        ticks.append(((first + place - 1) / 2, name))
        place += 0.8
    axes.set_xticks([tick for tick, _ in ticks], [name for _, name in ticks], fontsize=8)
    axes.set_ylabel("speed over our dense model (same compilation)")
    small = ", SMALL MODELS: checks the script, measures nothing" if machine["small"] else ""
    axes.set_title(
        f"{machine['device']}, {machine['dtype']}, torch {machine['torch']}, {machine['date']}{small}\n"
        "red: what the multiply-accumulates allow",
        fontsize=9,
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _short(row: Row) -> str:
    return "diffusers dense" if row.implementation == "diffusers" else row.schedule
