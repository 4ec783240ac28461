"""What the quickstart finds under several seeds, and whether its claims hold on fresh noise.

    uv run python experiments/quickstart_seeds/run.py --seeds 0 1 2 3 4              # 6 minutes a seed on two CPU cores
    uv run python experiments/quickstart_seeds/run.py --seeds 0 1 2 3 4 --confirm    # 4 minutes more each
    uv run python experiments/quickstart_seeds/run.py --fresh 0                      # its front again, on fresh noise

`seeds.csv`: a seed's hypervolume is that of its front in distance, and in latency over that of ten Euler steps in the
same run, up to the reference point of the front that README showed before sampling was searched (`BEFORE`, under the
old spacing). Beside it stand the hypervolumes of that front, of the dense base under the best solver, shift and gain at
every number of steps, and of all free baselines, which may also begin without a model call. `wall_seconds` are those of
a run that was made here, whole. `claims.csv`: every searched point that a run calls faster than what is free at equal
quality, with its 95 % interval, and the distance that free baselines reach in its time.

`confirmed.csv`, by `flexsearch confirm --images 500`: every searched point that was measured again under three seeds
that the search has not seen, its speed-up as searched and as confirmed, and what is told of it.

`fresh.csv`: the points of a run's front that may be as good as ten Euler steps, and the dense base at 10 and 40 steps,
by 2,000 images each under three seeds that no search has seen; which points are as good as these under every seed, and
at which share of their latency, as the run measured it.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from flexsearch.cli.results import front_of_run, open_run
from flexsearch.report.front import Front
from flexsearch.report.points import is_free
from flexsearch.report.run import Run
from flexsearch.report.speedup import claims_of, speedup_of
from flexsearch.schedule import Candidate, DensitySchedule, Sampling
from flexsearch.study.confirm import fresh_seeds
from flexsearch.study.pareto import hypervolume
from flexsearch.study.store import TrialRecord
from flexsearch.trial.contract import TrialOrder
from flexsearch.trial.remeasure import remeasure

HERE = Path(__file__).parent
SPACE = "search_spaces/quickstart.yaml"
BEFORE_REFERENCE = (1.1 * 44.62, 1.1)
BEFORE_EULER_10_MS = 23.9
BEFORE = (
    *((52.38, 4.08), (34.13, 5.13), (31.12, 5.89), (27.18, 5.91), (26.93, 6.67), (19.62, 8.64)),
    *((17.78, 12.1), (16.13, 14.4), (13.02, 16.8), (12.58, 20.0), (10.90, 23.9)),
)
"""README of 2026-11-27: distance and ms per image, on the same kind of machine."""
EULER = (10, 40)
FRESH_SEEDS, FRESH_IMAGES = 3, 2000
NEAR = 1.2
"""Points whose distance is at most so many times that of ten Euler steps are measured again."""


def volume(points: list[tuple[float, float]]) -> float:
    """Hypervolume of distances and latencies over ten Euler steps'."""
    return hypervolume(np.array(points), reference=np.array(BEFORE_REFERENCE))


def euler_ms(front: Front) -> float:
    """Ms per image of ten Euler steps, by all of the dense base's trials that compute every step."""
    plain = [one for one in front.baselines if is_plain(one)]
    return float(np.median([front.values(one)[1] / one.candidate.sampling.steps for one in plain]) * EULER[0])


def is_plain(record: TrialRecord) -> bool:
    """Whether a trial is the dense base that computes every step."""
    candidate = record.candidate
    return candidate.schedule.is_dense and not candidate.reuses and candidate.sampling.start == "model"


def flexsearch(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "flexsearch", *words], check=True, stdout=subprocess.DEVNULL)


def made(seed: int, runs: Path) -> tuple[Run, float]:
    """A run, which is made if it is not there, and the seconds that it took; not a number where it goes on."""
    run_dir, wall = runs / f"quickstart-{seed}", runs / f"quickstart-{seed}.seconds"
    is_new, began = not run_dir.exists(), time.monotonic()
    flexsearch("run", SPACE, "--seed", str(seed), "--run-dir", str(run_dir))
    if is_new:
        wall.write_text(f"{time.monotonic() - began:.1f}")
    return open_run(run_dir), float(wall.read_text()) if wall.exists() else float("nan")


def searched(seed: int, runs: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A run's numbers, and the gains that it claims."""
    run, wall_seconds = made(seed, runs)
    front = front_of_run(run)
    unit = euler_ms(front)

    def shares(records: list[TrialRecord]) -> list[tuple[float, float]]:
        values = [front.values(one) for one in records]
        return [(quality, latency / unit) for quality, latency in values]

    noise = float("nan") if front.noise is None else front.noise.paired
    claims = [
        {
            "seed": seed,
            "trial": one.record.number,
            "candidate": str(one.record.candidate),
            "is_free": is_free(one.record),
            "distance": one.distance,
            "free_distance": front.as_searched.free_reach.at(one.latency_ms),
            "noise_paired": noise,
            "share_of_euler_10": one.latency_ms / unit,
            "speedup": speedup.value,
            "low": speedup.low,
            "high": speedup.high,
        }
        for one, speedup in claims_of(front.as_searched)
    ]
    found = volume(shares(front.points))
    row = {
        "seed": seed,
        "wall_seconds": wall_seconds,
        "seconds": sum(cost.seconds for cost in run.store.costs() if ":" in cost.what and "confirm" not in cost.what),
        "trials": front.counts["complete"],
        "front": len(front.points),
        "searched_on_front": len(front.searched),
        "claims": len(claims),
        "noise_paired": noise,
        "euler_10_ms": unit,
        "volume": found,
        "over_dense_best_solver_and_gain": found / volume(shares([one for one in front.baselines if is_plain(one)])),
        "over_free_baselines": found / volume(shares([one for one in front.baselines if is_free(one)])),
        "over_published_before": found / volume([(quality, ms / BEFORE_EULER_10_MS) for quality, ms in BEFORE]),
    }
    return row, claims


def confirmed(seed: int, runs: Path) -> list[dict[str, Any]]:
    """What a confirmation says of the searched points of a run's front."""
    run, _ = made(seed, runs)
    if front_of_run(run).confirmation is None:
        flexsearch("confirm", str(runs / f"quickstart-{seed}"), "--images", "500")
    front = front_of_run(run)
    rows = []
    for one in front.best_known.points:
        before = speedup_of(front.as_searched, front.as_searched.by_number[one.record.number])
        after = speedup_of(front.best_known, one)
        if one.record.baseline is None and before is not None and after is not None:
            rows.append(
                {
                    "seed": seed,
                    "trial": one.record.number,
                    "candidate": str(one.record.candidate),
                    "is_free": is_free(one.record),
                    "distance": one.distance,
                    "latency_ms": one.latency_ms,
                    **{f"searched_{end}": getattr(before, end) for end in ("value", "low", "high", "verdict")},
                    **{f"confirmed_{end}": getattr(after, end) for end in ("value", "low", "high", "verdict")},
                }
            )
    return rows


def latencies(front: Front) -> dict[str, float]:
    """Ms per image as the run measured them, by what `fresh` calls the candidates."""
    found = {f"trial {one.number}": front.values(one)[1] for one in front.points}
    return found | {f"Euler {steps}": euler_ms(front) * steps / EULER[0] for steps in EULER}


def fresh(seed: int, runs: Path) -> pd.DataFrame:
    """Points of a run's front and Euler's steps on fresh noise: a row per candidate and seed."""
    run_dir = runs / f"quickstart-{seed}"
    run = open_run(run_dir)
    front = front_of_run(run)
    measured_ms = latencies(front)
    dense = DensitySchedule.all_dense(run.settings.search_space.num_blocks)
    asked = [(f"Euler {steps}", 0, Candidate(schedule=dense, sampling=Sampling(steps=steps)), False) for steps in EULER]
    euler = next(front.values(one)[0] for one in front.baselines if one.candidate == asked[0][2])
    for one in front.points:
        if front.values(one)[0] <= NEAR * euler:
            asked.append((f"trial {one.number}", one.number, one.candidate, not one.candidate.schedule.is_dense))
    rows = []
    for fresh_seed in fresh_seeds(seed, FRESH_SEEDS):
        for name, number, candidate, is_trained in asked:
            order = TrialOrder(
                number=number,
                candidate=candidate,
                run_dir=run_dir,
                seed=fresh_seed,
                baseline=None if is_trained else "dense",
                fine_tune=is_trained,
                kind="repeat",
            )
            found = remeasure(order, lambda _: True, images=FRESH_IMAGES).measurements
            quality = found[run.settings.objectives.names[0]].value
            rows.append(
                {
                    "what": name,
                    "candidate": str(candidate),
                    "seed": fresh_seed,
                    "distance": quality,
                    "latency_ms": measured_ms[name],
                }
            )
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def as_good(table: pd.DataFrame) -> pd.DataFrame:
    """Per candidate: mean distance, latency over Euler's, and under how many seeds it is as good as Euler."""
    distances = table.pivot_table(index="what", columns="seed", values="distance", sort=False)
    latencies = table.groupby("what", sort=False)["latency_ms"].median()
    found = pd.DataFrame({"distance": distances.mean(axis=1)})
    for steps in EULER:
        found[f"share_of_euler_{steps}"] = latencies / latencies[f"Euler {steps}"]
        found[f"seeds_as_good_as_{steps}"] = (distances <= distances.loc[f"Euler {steps}"]).sum(axis=1)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--fresh", type=int, help="measure this seed's run again, and search nothing")
    parser.add_argument("--confirm", action="store_true", help="measure the fronts of these seeds again")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    if arguments.fresh is not None:
        torch.set_num_threads(1)
        table = fresh(arguments.fresh, arguments.runs)
        table.to_csv(HERE / "fresh.csv", index=False, float_format="%.4g")
        print(as_good(table).to_string(float_format="%.3g"))
    elif arguments.confirm:
        again = pd.DataFrame([row for seed in arguments.seeds for row in confirmed(seed, arguments.runs)])
        again.to_csv(HERE / "confirmed.csv", index=False, float_format="%.4g")
        print(again.to_string(index=False, float_format="%.3g"))
    else:
        rows, claims = zip(*(searched(seed, arguments.runs) for seed in arguments.seeds), strict=True)
        seeds, claimed = pd.DataFrame(rows), pd.DataFrame([one for some in claims for one in some])
        seeds.to_csv(HERE / "seeds.csv", index=False, float_format="%.4g")
        claimed.to_csv(HERE / "claims.csv", index=False, float_format="%.4g")
        print(seeds.to_string(index=False, float_format="%.3g"))
        print(claimed.to_string(index=False, float_format="%.3g"))
