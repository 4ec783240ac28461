"""Judges search policies on the table: hypervolume against evaluations, with and without early stopping.

    uv run python experiments/density_bench/compare.py --seeds 20

A policy is run on the table by the very `Search` that `flexsearch run` uses, with `replay.py` for trials. Its cost is
counted in full fine-tunes: core seconds spent on training and judging over the mean of a trial that is trained to the
end, baselines included, so that early stopping counts. What it has found is judged by the mean over the table's seeds
(not by the values that it selected on), as a share of the hypervolume that the oracle, who knows the whole table, gets
beyond the baselines'. Writes `compare.csv`, `compare_curves.csv` and `compare.png`; with `--policies`, those that are
not chosen stay as they are there.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import moocore
import numpy as np
import pandas as pd
from figures import plot_over_seeds, tidy, write
from replay import Replay
from shipped import HERE, reader
from sqlalchemy import StaticPool, create_engine

from flexsearch.config import load_config
from flexsearch.schedule.candidate import Candidate
from flexsearch.study.acquisition import Acquisition
from flexsearch.study.baselines import Baseline
from flexsearch.study.executor import run_locally
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.search import Search
from flexsearch.study.settings import AlgorithmName, SearchSettings
from flexsearch.study.store import Store
from flexsearch.trial.contract import Report, TrialOrder, TrialResult

QUALITY, LATENCY = OBJECTIVES = ("fid_fashion_cnn", "latency_ms")
UPDATES = 160
GOAL = 0.95
MARKS = (10, 20, 40, 80)
POOL = SearchSettings().pool_size
STOPPING = " + early stopping"
IN_MEMORY = "sqlite://"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A way to search. `rungs` are own updates; `startup` is NSGA-II's population; `pool` as in
    `search.pool`; `profiled` chooses by the table's own latencies, as an exact profile would, and not by MACs."""

    name: str
    algorithm: AlgorithmName
    startup: int = 10
    rungs: tuple[int, ...] = ()
    keep: float = 1.0
    pool: int = 1
    profiled: bool = False
    trials: int = 130


def policies() -> list[Policy]:
    stopping: dict[str, Any] = {"rungs": (0,), "keep": 0.5}
    plain = [
        Policy(name="random", algorithm="random"),
        Policy(name="QMC", algorithm="qmc"),
        Policy(name="TPE", algorithm="tpe"),
        Policy(name="TPE + screening", algorithm="tpe", pool=POOL, trials=60),
        Policy(name="GP", algorithm="gp", trials=40),
        *(Policy(name=f"NSGA-II, population {size}", algorithm="nsga2", startup=size) for size in (8, 16, 24)),
    ]
    stopped = [
        Policy(
            name=policy.name + STOPPING,
            algorithm=policy.algorithm,
            startup=policy.startup,
            pool=policy.pool,
            trials=policy.trials,
            **stopping,
        )
        for policy in plain
    ]
    profiled = Policy(name="TPE + screening, profiled", algorithm="tpe", pool=POOL, profiled=True, trials=60)
    return [*plain, profiled, *stopped]


@dataclass
class Recorder:
    """Replays trials and notes what each one cost and found, in order."""

    replay: Replay
    results: list[tuple[TrialOrder, TrialResult]]

    def __call__(self, order: TrialOrder, report: Report) -> TrialResult:
        result = self.replay(order, report)
        self.results.append((order, result))
        return result


def baselines_in(table: pd.DataFrame) -> list[Baseline]:
    """The dense base, most steps first, and the paper's schedule at the most steps."""
    rows = table[table["baseline"].notna()].drop_duplicates("digest").sort_values("sampler_steps", ascending=False)
    found = []
    for row in rows.itertuples():
        is_dense = row.baseline == "dense"
        if is_dense or row.sampler_steps == rows["sampler_steps"].max():
            name = f"{row.baseline}, {row.sampler_steps} steps"
            candidate = Candidate.from_dict(json.loads(row.candidate))
            found.append(Baseline(name=name, candidate=candidate, fine_tune=not is_dense))
    return sorted(found, key=lambda baseline: baseline.fine_tune)


class Evaluator:
    """Hypervolumes by the mean over the table's seeds."""

    def __init__(self, table: pd.DataFrame) -> None:
        final = table[(table["updates"] == UPDATES) | (table["baseline"] == "dense")]
        values = final.groupby("digest")[list(OBJECTIVES)].mean()
        self.points = {digest: tuple(row) for digest, row in zip(values.index, values.to_numpy(), strict=True)}
        baselines = [baseline.candidate.digest for baseline in baselines_in(table)]
        self.reference = 1.1 * np.max([self.points[digest] for digest in baselines], axis=0)
        self.of_baselines = self.volume(baselines)
        self.oracle = self.volume(list(self.points))
        full = table[(table["updates"] == UPDATES) & table["baseline"].isna()]
        self.full_seconds = float((full["seconds_training"] + full["seconds_judging"]).mean())

    def volume(self, digests: Sequence[str]) -> float:
        return float(moocore.hypervolume(np.array([self.points[digest] for digest in digests]), ref=self.reference))

    def share(self, digests: Sequence[str]) -> float:
        """0 is what the baselines cover, 1 is what the oracle does."""
        return (self.volume(digests) - self.of_baselines) / (self.oracle - self.of_baselines)


def run(policy: Policy, table: pd.DataFrame, evaluator: Evaluator, *, seed: int) -> pd.DataFrame:
    """One search: evaluations spent and share of the oracle's hypervolume after every trial."""
    seeds = sorted(table["seed"].unique())
    settings = SearchSettings(
        trials=policy.trials, algorithm=policy.algorithm, startup=policy.startup, pool=policy.pool, seed=seed
    )
    store = Store(create_engine(IN_MEMORY, poolclass=StaticPool), study=policy.name, seed=seed)
    space = load_config(HERE / "space.yaml").search_space
    answers = Replay(
        table, objectives=OBJECTIVES, updates=UPDATES, rungs=policy.rungs, seed=int(seeds[seed % len(seeds)])
    )
    recorder = Recorder(answers, [])
    known = table.drop_duplicates("digest").set_index("digest")
    latencies, macs = known[LATENCY].to_dict(), known["macs"].to_dict()
    acquisition = Acquisition(
        num=policy.pool,
        work=lambda one: macs[one.digest] * one.sampling.steps,
        predict_ms=lambda one: latencies[one.digest] if policy.profiled else None,
        objectives=OBJECTIVES,
    )
    with tempfile.TemporaryDirectory() as folder:
        search = Search(
            optuna_study=OptunaStudy(
                None, name=policy.name, objectives=OBJECTIVES, domains=space.domains, settings=settings
            ),
            store=store,
            space=space,
            baselines=baselines_in(table),
            settings=settings,
            run_dir=Path(folder),
            objectives=OBJECTIVES,
            keep=policy.keep,
            acquisition=acquisition if policy.pool > 1 else None,
        )
        run_locally(search, recorder)
    spent, found, rows = 0.0, [], []
    for order, result in recorder.results:  # baselines first
        spent += sum(result.seconds.values()) / evaluator.full_seconds
        if result.state == "complete":
            found.append(order.candidate.digest)
        if order.baseline is None:
            rows.append((spent, evaluator.share(found)))
    curve = pd.DataFrame(rows, columns=["evaluations", "share"])
    changes = curve["share"].diff().ne(0) | (curve.index == len(curve) - 1)
    return curve[changes].assign(policy=policy.name, seed=seed)


def needed(curve: pd.DataFrame) -> float:
    """Evaluations until the goal; infinity where the search ended before."""
    reached = curve.loc[curve["share"] >= GOAL, "evaluations"]
    return float(reached.iloc[0]) if len(reached) else float("inf")


def at(curve: pd.DataFrame, evaluations: np.ndarray) -> np.ndarray:
    """The share after so many evaluations; what came last stays."""
    places = np.searchsorted(curve["evaluations"], evaluations, side="right") - 1
    return np.where(places >= 0, curve["share"].to_numpy()[places.clip(0)], 0.0)


def summary(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per policy: evaluations until the goal (median and quartiles over seeds), and the share on the way."""
    rows = []
    for name, of_policy in curves.groupby("policy", sort=False):
        of_seeds = [curve for _, curve in of_policy.groupby("seed")]
        until = [needed(curve) for curve in of_seeds]
        low, median, high = np.quantile(until, [0.25, 0.5, 0.75], method="nearest")
        shares = {f"share_at_{num}": np.mean([at(curve, np.array([num]))[0] for curve in of_seeds]) for num in MARKS}
        spreads = {
            f"sd_at_{num}": np.std([at(curve, np.array([num]))[0] for curve in of_seeds], ddof=1) for num in MARKS
        }
        rows.append(
            {
                "policy": name,
                "evaluations": median,
                "low": low,
                "high": high,
                **shares,
                **spreads,
                "seeds": len(of_seeds),
            }
        )
    return pd.DataFrame(rows)


def draw(curves: pd.DataFrame, path: Path) -> None:
    """Mean and standard deviation over seeds, up to where the first search ends; dashed is without early stopping."""
    figure, axes = plt.subplots(figsize=(8.5, 5.5), dpi=150)
    whole = np.linspace(1, MARKS[-1], 200)
    colours = dict(
        zip(dict.fromkeys(curves["policy"].str.removesuffix(STOPPING)), plt.get_cmap("tab10").colors, strict=False)
    )
    for name, of_policy in curves.groupby("policy", sort=False):
        grid = whole[whole <= of_policy.groupby("seed")["evaluations"].max().min()]
        table = np.array([at(curve, grid) for _, curve in of_policy.groupby("seed")])
        is_stopping = name.endswith(STOPPING)
        plot_over_seeds(
            axes,
            grid,
            table,
            colour=colours[name.removesuffix(STOPPING)],
            band=0.08 if is_stopping else 0.0,
            linestyle="-" if is_stopping else "--",
            linewidth=1.4,
            label=name,
        )
    axes.axhline(GOAL, color="#888888", linewidth=0.8, linestyle=":")
    axes.axhline(1.0, color="#444444", linewidth=0.8)
    axes.annotate("oracle", (MARKS[-1], 1.0), ha="right", va="bottom", fontsize=8)
    axes.set_xlabel("core seconds, in full fine-tunes")
    axes.set_ylabel("share of the hypervolume that the oracle gains over the baselines")
    axes.set_ylim(0, 1.05)
    axes.legend(frameon=False, fontsize=7, ncols=2, loc="lower right")
    tidy(axes)
    write(figure, path)


if __name__ == "__main__":
    parser = reader(__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2, help="searches at once")
    parser.add_argument("--policies", nargs="*", help="names that contain one of these; all if none is given")
    parser.add_argument(
        "--trials", type=int, help="finished trials of every search; each policy's own if none is given"
    )
    arguments = parser.parse_args()
    table = pd.read_parquet(arguments.table)
    table = table[(table["start"] == "warm") & table["updates"].isin([0, 40, UPDATES])]
    evaluator = Evaluator(table)
    chosen = [policy for policy in policies() if any(part in policy.name for part in arguments.policies or [""])]
    if arguments.trials is not None:
        chosen = [replace(policy, trials=arguments.trials) for policy in chosen]
    order = [policy.name for policy in policies()]
    curves, path = [], arguments.out / "compare_curves.csv"
    if path.exists():
        before = pd.read_csv(path)
        curves.append(before[~before["policy"].isin([policy.name for policy in chosen])])
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for policy in chosen:
            begun = time.monotonic()
            searches = [pool.submit(run, policy, table, evaluator, seed=seed) for seed in range(arguments.seeds)]
            curves += [search.result() for search in searches]
            print(f"{policy.name}: {time.monotonic() - begun:.0f} s", flush=True)
            everything = pd.concat(curves).sort_values(
                "policy", key=lambda names: names.map(order.index), kind="stable"
            )
            everything.to_csv(path, index=False, float_format="%.4g")
    found = summary(everything)
    found.to_csv(arguments.out / "compare.csv", index=False, float_format="%.4g")
    draw(everything, arguments.out / "compare.png")
    print(found.to_string(index=False, float_format="%.3g"))
