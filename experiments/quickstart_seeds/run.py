"""How much the quickstart's front depends on its seed, and what its defaults are worth: the same search under several
seeds, with today's defaults and with earlier ones.

    uv run python experiments/quickstart_seeds/run.py --seeds 0 1 2 3 4

About 4 minutes per seed and variant on two CPU cores. Writes `seeds.csv` beside this script. The variants of a seed run
one after the other, and latencies enter the hypervolume as shares of the dense base's in the same run, because the
machine's speed drifts between runs; all hypervolumes share a reference point. The hypervolume by outlook is what the
trials cover in outlook and latency: the search with today's defaults goes by it.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pandas as pd

from flexsearch.cli.results import front_of_run, open_run
from flexsearch.report.front import Front
from flexsearch.report.gain import largest_gain
from flexsearch.study.store import Store

SPACE = "search_spaces/quickstart.yaml"
VARIANTS: dict[str, list[str]] = {
    "defaults": [],
    "by distance": ["objectives.quality.paired_distance=false"],  # screened by distance: no drift is measured
    "2026-11-24": [  # no screening, as the first version had it
        "search.pool=1",
        "trial.updates=60",
        "search.trials=24",
        "search.noise_schedules=3",
    ],
}


def seconds_of(store: Store) -> float:
    """Device seconds of trials and noise; what all trials share is not counted."""
    return sum(cost.seconds for cost in store.costs() if ":" in cost.what)


def points_of(front: Front, *, only_baselines: bool = False) -> np.ndarray:
    """(N, 2): quality, and latency over the dense base's."""
    dense = front.values(front.baselines[0])[1]
    records = front.baselines if only_baselines else front.points
    return np.array([(front.values(record)[0], front.values(record)[1] / dense) for record in records])


def outlooks_of(front: Front) -> np.ndarray:
    """(N, 2): outlook, and latency over the dense base's."""
    dense = front.values(front.baselines[0])[1]
    return np.array(
        [(front.predicted_distances[one.number], front.values(one)[1] / dense) for one in front.predicted_front]
    )


def searched(seed: int, variant: str, runs: Path) -> tuple[dict[str, Any], Front]:
    run_dir = runs / f"quickstart-{variant.replace(' ', '-')}-{seed}"
    command = [sys.executable, "-m", "flexsearch", "run", SPACE, "--seed", str(seed), "--run-dir", str(run_dir)]
    overrides = [part for change in VARIANTS[variant] for part in ("--set", change)]
    subprocess.run([*command, *overrides], check=True)
    run = open_run(run_dir)
    front = front_of_run(run)
    best = largest_gain(front.as_searched)
    return {
        "seed": seed,
        "variant": variant,
        "complete": front.counts["complete"],
        "pruned": front.counts["pruned"],
        "seconds": round(seconds_of(run.store), 1),
        "front": len(front.points),
        "searched_on_front": sum(record.baseline is None for record in front.points),
        "dense_fid": front.values(front.baselines[0])[0],
        "dense_latency_ms": front.values(front.baselines[0])[1],
        "noise_paired": None if front.noise is None else front.noise.paired,
        "largest_gain": None if best is None else best.quality,
        "its_speedup": None if best is None else best.speedup,
        "its_schedule": None if best is None else str(best.point.record.candidate),
    }, front


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    found = [searched(seed, variant, arguments.runs) for seed in arguments.seeds for variant in arguments.variants]
    reference = 1.1 * np.max([points_of(front, only_baselines=True).max(axis=0) for _, front in found], axis=0)
    for row, front in found:
        row["hypervolume"] = moocore.hypervolume(points_of(front), ref=reference)
        if front.predicted_distances:
            row["hypervolume_by_outlook"] = moocore.hypervolume(outlooks_of(front), ref=reference)
        row["hypervolume_of_baselines"] = moocore.hypervolume(points_of(front, only_baselines=True), ref=reference)
    table = pd.DataFrame([row for row, _ in found])
    table.to_csv(Path(__file__).with_name("seeds.csv"), index=False, float_format="%.4g")
    print(table.to_string(index=False))
    new, *others = arguments.variants
    for value in ("hypervolume", "hypervolume_by_outlook", "seconds"):
        known = table.pivot_table(index="seed", columns="variant", values=value)
        for old in (variant for variant in others if variant in known):
            gain = known[new] / known[old] - 1
            print(f"{value}, {new} over {old}: {gain.mean():+.1%} (sd {gain.std():.1%}, {len(gain)} seeds)")
