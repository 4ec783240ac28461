"""Speed-ups over our own dense model, beside what the multiply-accumulates allow.

Run by itself it draws a table again: `uv run python experiments/throughput/picture.py experiments/throughput/results`.
"""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Line = Mapping[str, str]
_DIFFUSERS, _DENSE, _SPARSE, _ALLOWED = "#8a949c", "#444444", "#0b6e99", "#d1495b"


def draw(folder: Path) -> None:
    """Reads FOLDER/throughput.csv and machine.json, writes FOLDER/throughput.png: a group of bars per model and way of
    compiling."""
    with (folder / "throughput.csv").open() as file:
        lines = list(csv.DictReader(file))
    machine = json.loads((folder / "machine.json").read_text())
    groups: dict[str, list[Line]] = {}
    for line in lines:
        compiled = "not compiled" if line["compiled"] == "none" else f"compiled, {line['compiled']}"
        groups.setdefault(f"{line['model']}, batch {line['batch']}\n{compiled}", []).append(line)
    figure, axes = plt.subplots(figsize=(max(7.0, 0.75 * len(lines)), 5), dpi=150)
    place, ticks = 0.0, []
    for name, group in groups.items():
        ticks.append((place + (len(group) - 1) / 2, name))
        _bars(axes, group, place)
        place += len(group) + 0.8
    axes.set_xticks([tick for tick, _ in ticks], [name for _, name in ticks], fontsize=8)
    axes.set_ylabel("speed over our dense model")
    small = ", SMALL MODELS: checks the script, measures nothing" if machine["small"] else ""
    axes.set_title(
        f"{machine['device']}, {machine['dtype']}, torch {machine['torch']}, {machine['date']}{small}\n"
        "red: what the multiply-accumulates allow",
        fontsize=9,
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(folder / "throughput.png")
    plt.close(figure)


def _bars(axes: plt.Axes, group: Sequence[Line], first: float) -> None:
    for index, line in enumerate(group):
        place, speedup, allowed = first + index, float(line["speedup"]), float(line["allowed"])
        is_ours, is_dense = line["implementation"] == "flexsearch", line["schedule"] == "dense"
        color = _DIFFUSERS if not is_ours else _DENSE if is_dense else _SPARSE
        axes.bar(place, speedup, color=color, width=0.8)
        axes.hlines(allowed, place - 0.4, place + 0.4, color=_ALLOWED, linewidth=2)
        axes.text(place, speedup - 0.03, f"{speedup:.2f}", ha="center", va="top", fontsize=9, color="white")
        name = line["schedule"] if is_ours else "diffusers dense"
        axes.text(place, 0.03, name, rotation=90, ha="center", va="bottom", fontsize=6, color="white")


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
