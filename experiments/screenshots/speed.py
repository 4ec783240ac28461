"""The picture of the speed of the paper's schedules, from rows that `experiments/gpu/run.py --stages blocks` measures.

    uv run python experiments/screenshots/speed.py

Reads `experiments/gpu/cpu/`, writes `docs/images/throughput_cpu.png`.
"""

import csv
import json
from pathlib import Path

from matplotlib.figure import Figure

from flexsearch.report.palette import DENSE, FRONT, INK, MUTED, PAPER

ROOT = Path(__file__).resolve().parents[2]
_MODELS = {"dit_b": "DiT-B/2", "dit_xl": "DiT-XL/2", "pixart": "PixArt-alpha"}
_SCHEDULES = {"r44": "44 % of tokens dropped", "r61_86": "61 to 86 % dropped", "r90_96": "90 to 96 % dropped"}


def main() -> None:
    with (ROOT / "experiments/gpu/cpu/throughput.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["implementation"] == "flexsearch"]
    machine = json.loads((ROOT / "experiments/gpu/cpu/machine.json").read_text())
    rows = [row for row in rows if row["schedule"] != "dense"][::-1]
    figure = Figure(figsize=(8, 3.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    speed, allowed = ([float(row[name]) for row in rows] for name in ("speedup", "allowed"))
    axes.barh(range(len(rows)), speed, height=0.62, color=FRONT, label="measured")
    axes.scatter(allowed, range(len(rows)), marker="|", s=240, linewidths=2.5, color=PAPER, label="what the MACs allow")
    axes.axvline(1, color=DENSE, linewidth=1, linestyle="--", label="our dense model")
    for place, value in enumerate(speed):
        axes.text(value - 0.03, place, f"{value:.2f}x", ha="right", va="center", color="white", fontsize=9)
    axes.set_yticks(range(len(rows)), [named(row) for row in rows])
    axes.set_xlim(0, 2.6)
    axes.set_xlabel("times as fast as the dense model, one image, two rows of guidance, not compiled")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=MUTED, labelcolor=INK)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    title = f"{machine['device']}, {machine['dtype']}, torch {machine['torch'].partition('+')[0]}, {machine['date']}"
    axes.set_title(title, loc="left", fontsize=9, color=MUTED)
    figure.savefig(ROOT / "docs/images/throughput_cpu.png")


def named(row: dict[str, str]) -> str:
    """A row's model, size and schedule in words."""
    model, _, size = row["model"].rpartition("_")
    schedule = next((text for key, text in _SCHEDULES.items() if row["schedule"].endswith(key)), "8x8 sparse tokens")
    return f"{_MODELS[model]}, {size} px\n{schedule}"


if __name__ == "__main__":
    main()
