"""How much the quickstart's front depends on its seed: the same search under several, one after the other.

    uv run python experiments/quickstart_seeds/run.py --seeds 0 1 2

About 5 minutes per seed on two CPU cores. Writes `seeds.csv` beside this script; hypervolumes share a reference point.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import moocore
import numpy as np
import pandas as pd

from flexsearch.cli.results import front_of_run, open_run
from flexsearch.report.claims import largest_gain
from flexsearch.study.store import Store

SPACE = "search_spaces/quickstart.yaml"


def seconds_of(store: Store) -> float:
    """Device seconds of trials and noise; what all trials share is not counted."""
    return sum(cost.seconds for cost in store.costs() if ":" in cost.what)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    rows, fronts = [], []
    for seed in arguments.seeds:
        run_dir = arguments.runs / f"quickstart-seed-{seed}"
        command = [sys.executable, "-m", "flexsearch", "run", SPACE, "--seed", str(seed), "--run-dir", str(run_dir)]
        subprocess.run(command, check=True)
        run = open_run(run_dir)
        front = front_of_run(run)
        fronts.append(front)
        best = largest_gain(front)
        searched = [record for record in front.points if record.baseline is None]
        rows.append(
            {
                "seed": seed,
                "trials": front.counts["complete"],
                "seconds": round(seconds_of(run.store), 1),
                "front": len(front.points),
                "searched_on_front": len(searched),
                "dense_fid": front.values(front.baselines[0])[0],
                "dense_latency_ms": front.values(front.baselines[0])[1],
                "noise_paired": None if front.noise is None else front.noise.paired,
                "largest_gain": None if best is None else best.gain,
                "its_speedup": None if best is None else best.speedup,
                "its_schedule": None if best is None else str(best.record.candidate),
            }
        )
    reference = np.max([front.reference_point for front in fronts], axis=0)
    for row, front in zip(rows, fronts, strict=True):
        everything = np.array([front.values(record) for record in front.points])
        baselines = np.array([front.values(record) for record in front.baselines])
        row["hypervolume"] = moocore.hypervolume(everything, ref=reference)
        row["hypervolume_of_baselines"] = moocore.hypervolume(baselines, ref=reference)
    table = pd.DataFrame(rows)
    table.to_csv(Path(__file__).with_name("seeds.csv"), index=False, float_format="%.4g")
    print(table.to_string(index=False))
