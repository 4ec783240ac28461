"""What each density family is worth at quickstart size: searched alone, against what needs no training.

    uv run python experiments/families/run.py --seeds 0 1 2 3 4
    uv run python experiments/families/run.py --seeds 0 --trials 6 --images 100 --warm-start 100    # a rehearsal

`families.csv`: a row per family and seed. The families' spaces differ in their segments alone, and share the sampling:
its axes are settled but for the number of steps, so that what is compared is what is trained. Every run has the same
device seconds: a search ends after `--trials` trials or `--hours`, whichever is first, and its warm start counts.

A hypervolume is that of distance and latency over ten Euler steps' of the same run, up to 1.1 times the worst that is
free. `free` is that of the training-free baselines, of all runs of a seed together; `volume` that of these and what the
family found; `gained` their ratio; `owns` how many points of the seed's joint front are its own.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from flexsearch.cli.results import front_of_run, open_run
from flexsearch.report.front import Front
from flexsearch.report.points import is_free
from flexsearch.study.pareto import hypervolume, is_non_dominated, reference_point
from flexsearch.study.store import TrialRecord

HERE = Path(__file__).parent
EULER_STEPS = 10
DENSE = {"family": "dense", "depth": "rest"}
GRIDS = {"stages": 2, "clean_grid": {"choice": [3, 4, 5]}, "noise_grid": {"choice": [2, 3, 4]}}
FAMILIES: dict[str, dict[str, Any]] = {
    "pooling": {"segments": [{"family": "pooling", "depth": {"int": [1, 6]}}, DENSE]},
    "sdtm": {
        "segments": [
            {"family": "dense", "depth": {"int": [1, 3]}},
            {"family": "sdtm", "repeat": {"int": [1, 2]}, "sparse": "rest", "dense": {"choice": [0, 1]}},
            {"family": "dense", "depth": {"int": [1, 2]}},
        ],
        "timetable": GRIDS,
    },
    "width": {
        "segments": [
            {
                **DENSE,
                "width": {
                    "clean_heads": {"choice": [2, 4, 6, 8]},
                    "noise_heads": {"choice": [2, 4, 6, 8]},
                    "clean_hidden": {"choice": [2, 3, 4, 6, 8]},
                    "noise_hidden": {"choice": [2, 3, 4, 6, 8]},
                },
            },
            {"family": "dense", "depth": {"choice": [0, 1, 2]}},
        ],
        "timetable": {"stages": 2},
    },
    "keep": {
        "segments": [
            {"family": "dense", "depth": {"int": [1, 3]}},
            {
                "family": "keep",
                "depth": "rest",
                "scope": {"choice": ["mlp", "block"]},
                "tokens": {"clean": {"choice": [4, 5, 6, 7, 8]}, "noise": {"choice": [2, 3, 4, 6, 8]}},
            },
            {"family": "dense", "depth": {"int": [1, 2]}},
        ],
        "timetable": {"stages": 2},
    },
}
"""What of a space is a family's own."""
SAMPLING = {
    "sampler_steps": {"choice": [3, 4, 5, 6]},
    "solver": "ab2",
    "start": "gaussian",
    "gain": {"stream": 0.8, "at": 4},
}


def space_of(family: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The configuration of a family's run."""
    return {
        "name": f"families_{family}",
        "base": {"checkpoint": "embedded:quickstart"},
        "data": {"name": "quickstart"},
        "space": {**FAMILIES[family], "dense": {"choice": [False, True]}, **SAMPLING},
        "objectives": {
            "quality": {
                "images": arguments.images,
                "extractor": "fashion-cnn",
                "reference": "embedded:quickstart",
                "paired_distance": False,
            },
            "latency": {"batch": 8, "repeats": 9, "threads": 1},
        },
        "warm_start": {
            "updates": arguments.warm_start,
            "learning_rate": 1.5e-3,
            "decay": "linear",
            "warmup": min(50, arguments.warm_start // 2),
            "ema_decay": 0.99,
        },
        "trial": {"updates": 60, "batch": 32, "learning_rate": 5.0e-4, "decay": "linear", "ema_decay": 0.9},
        "search": {
            "trials": arguments.trials,
            "startup": min(8, arguments.trials),
            "baseline_steps": [10, 6, 5, 4, 3],
            "noise_schedules": 0,
        },
        "resources": {"cpu": 1},
    }


def searched(family: str, seed: int, arguments: argparse.Namespace) -> Front:
    """The front of a run, which is made if it is not there."""
    arguments.runs.mkdir(parents=True, exist_ok=True)
    path = arguments.runs / f"{family}.yaml"
    path.write_text(yaml.safe_dump(space_of(family, arguments), sort_keys=False))
    run_dir = arguments.runs / f"{family}-{seed}"
    command = [sys.executable, "-m", "flexsearch", "run", str(path), "--seed", str(seed), "--run-dir", str(run_dir)]
    command += [] if arguments.hours is None else ["--hours", str(arguments.hours)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return front_of_run(open_run(run_dir))


def points_of(front: Front, *, free: bool) -> np.ndarray:
    """(K, 2) distance, and latency over ten Euler steps', of the trials that need training, or of those that do not."""
    euler = [one for one in front.complete.values() if _is_euler(one)]
    unit = float(np.median([front.values(one)[1] / one.candidate.sampling.steps for one in euler])) * EULER_STEPS
    found = [front.values(one) for one in front.complete.values() if is_free(one) == free]
    return np.array([(distance, latency / unit) for distance, latency in found]).reshape(-1, 2)


def _is_euler(record: TrialRecord) -> bool:
    return (
        record.candidate.schedule.is_dense and str(record.candidate.sampling) == f"x{record.candidate.sampling.steps}"
    )


def rows_of(fronts: dict[str, Front], seed: int) -> list[dict[str, Any]]:
    """A row per family, and one of all together."""
    free = np.concatenate([points_of(front, free=True) for front in fronts.values()])
    trained = {family: points_of(front, free=False) for family, front in fronts.items()}
    reference = reference_point(free)
    base = hypervolume(free, reference=reference)
    owners = np.array(["free"] * len(free) + [family for family, points in trained.items() for _ in points])
    on_front = is_non_dominated(np.concatenate([free, *trained.values()]))
    seconds = {family: sum(cost.seconds for cost in front.costs) for family, front in fronts.items()}
    rows = []
    for family, members in {**{one: [one] for one in trained}, "together": list(trained)}.items():
        points = np.concatenate([trained[one] for one in members])
        volume = hypervolume(np.concatenate([free, points]), reference=reference)
        rows.append(
            {
                "seed": seed,
                "family": family,
                "trained": len(points),
                "seconds": sum(seconds[one] for one in members),
                "free": base,
                "volume": volume,
                "gained": volume / base,
                "owns": int(np.isin(owners[on_front], members).sum()),
                "of_front": int(on_front.sum()),
            }
        )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--trials", type=int, default=60, help="of every search, baselines among them")
    parser.add_argument("--hours", type=float, help="of every search")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--warm-start", type=int, default=3000, help="updates")
    parser.add_argument("--runs", type=Path, default=Path("runs/families"))
    arguments = parser.parse_args()
    rows = []
    for seed in arguments.seeds:
        fronts = {family: searched(family, seed, arguments) for family in arguments.families}
        rows += rows_of(fronts, seed)
    table = pd.DataFrame(rows)
    table.to_csv(HERE / "families.csv", index=False, float_format="%.4g")
    print(table.to_string(index=False, float_format="%.3g"))
