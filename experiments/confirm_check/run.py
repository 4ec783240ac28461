"""Do the intervals of `flexsearch confirm` hold what is measured with four times the images?

    uv run python experiments/confirm_check/run.py runs/quickstart --images 2000 --seeds 3

Confirms a finished run, then measures every confirmed candidate independently, under seeds that neither the search nor
the confirmation has seen, with four times the images per seed, and counts how often an interval holds the new value: of
the distance at N images the mean over the fresh blocks of N, of the distance at infinitely many the end of a line
through 4 N, 2 N and N fresh images. The raw distance of 4 N images is below that of N by construction, and is listed
only.

The new values have an error of their own, half as large as the intervals', so intervals of 95 % are expected to hold
them in about 92 % of cases. All candidates share most of their noise, so those of one confirmation hit or miss
together: `--repeats` makes further confirmations, under other seeds, against the same new values. Writes
`confirm_check.csv` and `.png`; `measured.jsonl` keeps every measurement, so that the same command goes on.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from flexsearch.cli.confirm import confirm_front
from flexsearch.cli.results import front_of_run, open_run
from flexsearch.objectives.fid_infinity import BLOCKS, at_infinity, block_name
from flexsearch.report.confirmation import Confirmation, confirmation_of
from flexsearch.report.front import Front
from flexsearch.study.confirm import confirmation_orders, fresh_seeds
from flexsearch.study.store import TrialRecord
from flexsearch.trial.contract import TrialResult
from flexsearch.trial.remeasure import remeasure

MORE = 4
FIRST_SEED, FIRST_REPEAT, NEXT_REPEAT = 20_000, 30_000, 1_000
LINES = {"at N": ("quality", "at N images"), "infinity": ("at_infinity", "at infinitely many")}

Evidence = dict[int, dict[int, dict]]


def measured(records: list[TrialRecord], *, seeds: list[int], images: int, run_dir: Path, kept: Path) -> Evidence:
    """Every candidate under every seed, from the file `kept` where it is there already."""
    known = {}
    for line in kept.read_text().splitlines() if kept.exists() else ():
        row = json.loads(line)
        known[row["trial"], row["seed"], row["images"]] = TrialResult.from_dict(row["result"])
    evidence: Evidence = {}
    for order in confirmation_orders(records, seeds=seeds, run_dir=run_dir):
        key = (order.number, order.seed, images)
        if key not in known:
            known[key] = remeasure(order, lambda _: True, images=images)
            with kept.open("a") as file:
                row = dict(zip(("trial", "seed", "images"), key, strict=True))
                file.write(json.dumps({**row, "result": known[key].to_dict()}) + "\n")
            print(f"trial {order.number}, seed {order.seed}, {images} images", flush=True)
        evidence.setdefault(order.number, {})[order.seed] = dict(known[key].measurements)
    return evidence


def new_values(evidence: Evidence, name: str) -> dict[int, dict[str, float]]:
    """By trial: the mean distance of blocks of N, the distance at infinity, and the raw one of all images."""
    found = {}
    for number, seeds in evidence.items():
        means = {
            num: np.mean([rows[block_name(name, b, num)].value for rows in seeds.values() for b in range(num)])
            for num in BLOCKS
        }
        found[number] = {"at N": means[MORE], "infinity": float(at_infinity(means)), "raw": means[1]}
    return found


def compared(confirmations: list[Confirmation], fresh: dict[int, dict[str, float]], front: Front) -> pd.DataFrame:
    """One row per repeat and candidate."""
    rows = []
    for repeat, confirmation in enumerate(confirmations):
        for number, point in confirmation.points.items():
            record = front.complete[number]
            row = {"repeat": repeat, "trial": number, "schedule": record.baseline or str(record.candidate)}
            for key, (attribute, _) in LINES.items():
                interval = getattr(point, attribute)
                row |= {f"{key}": interval.value, f"{key} low": interval.low, f"{key} high": interval.high}
                row |= {f"{key} new": fresh[number][key], f"{key} held": interval.holds(fresh[number][key])}
            rows.append({**row, "raw at 4 N": fresh[number]["raw"], "on_front": point.front_probability})
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, path: Path, title: str) -> None:
    """Intervals less the new value, candidate by candidate."""
    figure, both = plt.subplots(2, 1, figsize=(8, 6), dpi=150, sharex=True)
    for axes, (key, (_, label)) in zip(both, LINES.items(), strict=True):
        off, low, high = (table[f"{key}{end}"] - table[f"{key} new"] for end in ("", " low", " high"))
        colours = np.where(table[f"{key} held"], "#0b6e99", "#d1495b")
        axes.vlines(range(len(table)), low, high, colors=colours)
        axes.scatter(range(len(table)), off, c=colours, s=14, zorder=3)
        axes.axhline(0.0, color="#444444", linewidth=1)
        axes.set_ylabel(f"confirmed - new,\n{label}")
        held = table[f"{key} held"]
        axes.set_title(f"{held.sum()} of {len(held)} intervals hold the new value", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    both[-1].set_xticks(range(len(table)), table["trial"], fontsize=7)
    both[-1].set_xlabel("trial")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--top", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    kept, run = given.out / "measured.jsonl", open_run(given.run_dir)
    names, seed = run.settings.objectives.names, run.search.seed
    if run.settings.objectives.quality.distance != "frechet":
        parser.error("the run must search a Frechet distance: others need no extrapolation")
    confirm_front(given.run_dir, top=given.top, images=given.images, seeds=given.seeds, quiet=True)
    first = confirmation_of(run.store.confirmations(), names, images=given.images)
    assert first is not None
    front = front_of_run(run)
    records = [front.complete[number] for number in first.points]

    def again(seed_from: int, images: int) -> Evidence:
        seeds = fresh_seeds(seed, given.seeds, first=seed_from)
        return measured(records, seeds=seeds, images=images, run_dir=given.run_dir, kept=kept)

    repeats = [
        confirmation_of({given.images: again(FIRST_REPEAT + NEXT_REPEAT * index, given.images)}, names)
        for index in range(given.repeats - 1)
    ]
    fresh = new_values(again(FIRST_SEED, MORE * given.images), names[0])
    table = compared([first, *(found for found in repeats if found is not None)], fresh, front)
    table.to_csv(given.out / "confirm_check.csv", index=False, float_format="%.5g")
    title = f"{run.name}: {given.seeds} seeds of {given.images} images, against {given.seeds} of {MORE * given.images}"
    draw(table, given.out / "confirm_check.png", title)
    print(table.drop(columns=["schedule"]).to_string(index=False, float_format="%.4g"))
    for key, (_, label) in LINES.items():
        held = table[f"{key} held"]
        print(f"{label}: {held.sum()} of {len(held)} intervals hold the new value ({held.mean():.0%})")
