"""What each density family is worth at quickstart size: searched alone and all in one space, against what is free.

    uv run python experiments/families/run.py --seeds 0 1 2 3 4 --hours 0.055
    uv run python experiments/families/run.py --seeds 0 --trials 30 --images 100 --warm-start 100    # a rehearsal

`families.csv`: a row per family and seed. The spaces differ in their segments alone, and share the sampling: its axes
are settled but for the number of steps and whether there is a gain, so that what is compared is what is trained. All
schedules are taught by samples of the dense base, as in the quickstart. `joint` is one space of all families with one
warm start; `four` what the four families found, each in a search of its own, taken together. A search ends after
`--trials` trials or `--hours`, whichever is first, and a warm start that is made then counts: it is kept for later
searches of the same space, so that all seeds begin at one.

A run `free` measures what needs no training, under all numbers of steps; the others have few baselines of their own.
A hypervolume is that of distance and latency over ten Euler steps' of the same run, up to twice the best distance that
is free and 1.1 times the latency of that point. `free` is that of the training-free baselines, of all runs of a seed
together; `volume` that of these and what the family found; `gained` their ratio; `owns` how many points of the seed's
common front are its own. `points.csv` has the fronts of each family with what is free, `families.png` shows them.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml

from flexsearch.cli.results import front_of_run, open_run
from flexsearch.report.front import Front
from flexsearch.report.points import is_free
from flexsearch.study.pareto import hypervolume, is_non_dominated
from flexsearch.study.store import TrialRecord

HERE = Path(__file__).parent
EULER_STEPS, MIDDLE_STEPS = 10, 3
"""Of the unit of latency; and of the baselines of a family, whose run leaves all others to the one of what is free."""
DENSE = {"family": "dense", "depth": "rest"}
GRIDS = {"clean_grid": {"choice": [3, 4, 5]}, "noise_grid": {"choice": [2, 3, 4]}}
WIDTH = {
    "clean_heads": {"choice": [2, 4, 6, 8]},
    "noise_heads": {"choice": [2, 4, 6, 8]},
    "clean_hidden": {"choice": [2, 3, 4, 6, 8]},
    "noise_hidden": {"choice": [2, 3, 4, 6, 8]},
}
KEEP = {
    "family": "keep",
    "scope": {"choice": ["mlp", "block"]},
    "tokens": {"clean": {"choice": [4, 5, 6, 7, 8]}, "noise": {"choice": [2, 3, 4, 6, 8]}},
}
JOINT, FOUR = "joint", "four"
FAMILIES: dict[str, dict[str, Any]] = {
    "pooling": {"segments": [{"family": "pooling", "depth": {"int": [1, 6]}}, DENSE]},
    "sdtm": {
        "segments": [
            {"family": "dense", "depth": {"int": [1, 3]}},
            {"family": "sdtm", "repeat": {"int": [1, 2]}, "sparse": "rest", "dense": {"choice": [0, 1]}},
            {"family": "dense", "depth": {"int": [1, 2]}},
        ],
        "timetable": {"stages": 2, **GRIDS},
    },
    "width": {
        "segments": [{**DENSE, "width": WIDTH}, {"family": "dense", "depth": {"choice": [0, 1, 2]}}],
        "timetable": {"stages": 2},
    },
    "keep": {
        "segments": [
            {"family": "dense", "depth": {"int": [1, 3]}},
            {**KEEP, "depth": "rest"},
            {"family": "dense", "depth": {"int": [1, 2]}},
        ],
        "timetable": {"stages": 2},
    },
    JOINT: {
        "segments": [
            {"family": "pooling", "depth": {"int": [0, 4]}},
            {"family": "sdtm", "repeat": {"int": [0, 1]}, "sparse": {"int": [1, 3]}, "dense": {"choice": [0, 1]}},
            {**KEEP, "depth": {"choice": [0, 1, 2]}},
            {**DENSE, "width": WIDTH},
        ],
        "timetable": {"stages": 2, **GRIDS},
    },
}
"""What of a space is a family's own."""
FREE = "free"
WORST, MARGIN = 2.0, 1.1
"""Of the reference point: times the best distance that is free, times its latency."""
COLOURS = {
    FREE: "#667085",
    "pooling": "#0072b2",
    "sdtm": "#e69f00",
    "width": "#009e73",
    "keep": "#cc79a7",
    JOINT: "#d55e00",
    FOUR: "#1f2a37",
}
SAMPLING = {
    "sampler_steps": {"choice": [2, 3, 4]},
    "solver": "ab2",
    "start": "gaussian",
    "gain": {"stream": {"choice": [1.0, 0.8]}, "at": 4},
}
TAUGHT = {
    "images": 1024,
    "steps": [2, 3],
    "sampling": {"sampler_steps": 5, "solver": "ab2", "start": "gaussian", "gain": {"stream": 0.8, "at": 4}},
}


def space_of(family: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The configuration of a family's run, or of the one that trains nothing and has all baselines."""
    common = {
        "name": f"families_{family}",
        "base": {"checkpoint": "embedded:quickstart"},
        "objectives": {
            "quality": {
                "images": arguments.images,
                "extractor": "fashion-cnn",
                "reference": "embedded:quickstart",
            },
            "latency": {"batch": 8, "repeats": 9, "threads": 1},
        },
        "resources": {"cpu": 1},
    }
    search = {"trials": arguments.trials, "startup": min(8, arguments.trials), "noise_schedules": 0}
    if family == FREE:
        search["baseline_steps"] = [EULER_STEPS, *SAMPLING["sampler_steps"]["choice"]]
        return {**common, "space": {"segments": [DENSE], **SAMPLING}, "search": search}
    return {
        **common,
        "data": {"name": "quickstart"},
        "space": {**FAMILIES[family], "dense": {"choice": [False, True]}, **SAMPLING},
        "warm_start": {
            "updates": arguments.warm_start,
            "learning_rate": 1.5e-3,
            "decay": "linear",
            "warmup": min(50, arguments.warm_start // 2),
            "ema_decay": 0.99,
        },
        "teacher_samples": TAUGHT,
        "trial": {"updates": 60, "batch": 32, "learning_rate": 5.0e-4, "decay": "linear", "ema_decay": 0.9},
        "search": {**search, "baseline_steps": [MIDDLE_STEPS]},
    }


def searched(family: str, seed: int, arguments: argparse.Namespace) -> Front:
    """The front of a run, which is made if it is not there."""
    arguments.runs.mkdir(parents=True, exist_ok=True)
    path = arguments.runs / f"{family}.yaml"
    path.write_text(yaml.safe_dump(space_of(family, arguments), sort_keys=False))
    run_dir = arguments.runs / f"{family}-{seed}"
    command = [sys.executable, "-m", "flexsearch", "run", str(path), "--seed", str(seed), "--run-dir", str(run_dir)]
    command += [] if arguments.hours is None else ["--hours", str(arguments.hours)]
    if not arguments.read:
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


Points = dict[str, np.ndarray]
"""(K, 2) distance and latency over ten Euler steps', by family; `free` is what needs no training."""


def points_by_family(fronts: dict[str, Front]) -> Points:
    free = np.concatenate([points_of(front, free=True) for front in fronts.values()])
    trained = {family: points_of(front, free=False) for family, front in fronts.items() if family != FREE}
    return {FREE: free, **trained}


def rows_of(fronts: dict[str, Front], seed: int) -> list[dict[str, Any]]:
    """A row per family, and one of all that were searched alone."""
    trained = points_by_family(fronts)
    free = trained.pop(FREE)
    front = free[is_non_dominated(free)]
    reference = np.array([WORST * front[:, 0].min(), MARGIN * front[:, 1].max()])
    base = hypervolume(free, reference=reference)
    owners = np.array([FREE] * len(free) + [family for family, points in trained.items() for _ in points])
    on_front = is_non_dominated(np.concatenate([free, *trained.values()]))
    seconds = {family: sum(cost.seconds for cost in front.costs) for family, front in fronts.items()}
    rows: list[dict[str, Any]] = []
    for family, members in {**{one: [one] for one in trained}, FOUR: [one for one in trained if one != JOINT]}.items():
        if not members:
            continue
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


def fronts_of(points: Points, seed: int) -> pd.DataFrame:
    """The front of every family with what is free, and that of what is free alone: what is not its own is left out."""
    parts = []
    for family, own in points.items():
        others = points[FREE] if family != FREE else np.empty((0, 2))
        best = is_non_dominated(np.concatenate([own, others]))[: len(own)]
        parts.append(
            pd.DataFrame(own[best], columns=["distance", "share_of_euler_10"]).assign(seed=seed, family=family)
        )
    return pd.concat(parts)[["seed", "family", "share_of_euler_10", "distance"]].sort_values(
        ["seed", "family", "share_of_euler_10"]
    )


def drawn(table: pd.DataFrame, points: pd.DataFrame, path: Path) -> None:
    """Where each family's points lie, and what it gains, a dot per seed and a line at their mean."""
    figure, (where, gained) = plt.subplots(1, 2, figsize=(11, 4.4), dpi=110, width_ratios=(3, 2))
    for family, part in points.groupby("family", sort=False):
        is_free_part = family == FREE
        where.plot(
            part["share_of_euler_10"],
            part["distance"],
            linestyle="none",
            marker="D" if is_free_part else "o",
            markersize=4 if is_free_part else 6,
            alpha=0.8,
            color=COLOURS[str(family)],
            label="nothing trained" if is_free_part else str(family),
        )
    where.set(xscale="log", xlabel="latency over that of ten Euler steps", ylabel="distance (lower is better)")
    where.set_title("what each family adds to the front of what is free, all seeds", loc="left", fontsize=10)
    where.legend(frameon=False, fontsize=9)
    names = list(dict.fromkeys(table["family"]))
    for place, family in enumerate(names):
        values = table.loc[table["family"] == family, "gained"]
        gained.plot(values, [place] * len(values), "o", color=COLOURS[family], alpha=0.8)
        gained.plot([values.mean()] * 2, [place - 0.3, place + 0.3], color=COLOURS[family], linewidth=2)
    gained.axvline(1.0, color=COLOURS[FREE], linewidth=1)
    gained.set_yticks(range(len(names)), names)
    gained.invert_yaxis()
    gained.set_xlabel("hypervolume over that of what is free")
    gained.set_title("a dot per seed, their mean", loc="left", fontsize=10)
    for axes in (where, gained):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", default=[FREE, *FAMILIES], choices=[FREE, *FAMILIES])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--trials", type=int, default=60, help="of every search, baselines among them")
    parser.add_argument("--hours", type=float, help="of every search")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--warm-start", type=int, default=3000, help="updates")
    parser.add_argument("--read", action="store_true", help="search no further: a run that hours ended would go on")
    parser.add_argument("--runs", type=Path, default=Path("runs/families"))
    arguments = parser.parse_args()
    rows, parts = [], []
    for seed in arguments.seeds:
        fronts = {family: searched(family, seed, arguments) for family in arguments.families}
        rows += rows_of(fronts, seed)
        parts.append(fronts_of(points_by_family(fronts), seed))
    table, points = pd.DataFrame(rows), pd.concat(parts)
    table.to_csv(HERE / "families.csv", index=False, float_format="%.4g")
    points.to_csv(HERE / "points.csv", index=False, float_format="%.4g")
    drawn(table, points, HERE / "families.png")
    print(table.to_string(index=False, float_format="%.3g"))
