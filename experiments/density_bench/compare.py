"""Judges search policies, and what every axis is worth, on the table: hypervolume against device seconds.

    uv run python experiments/density_bench/compare.py

A policy is run on the table by the very `Search` that `flexsearch run` uses, with `replay.py` for trials; "all axes" by
several policies, and by the default one with an axis left out. Its cost is the device seconds of training and judging,
baselines included; that of a schedule's fine-tune counts once. One half of the searches see the table's seed 0, the
other half its seed 1, and the front that a search names is judged by the other seed: by fine-tunes and noise on which
nothing was chosen. The share is of the hypervolume that the front of the whole table, named and judged in the same way,
has beyond the free baselines; beyond 1 is luck.

Writes `compare.csv`, `compare_paired.csv` (differences of policies, seed by seed), `compare_curves.csv`, `compare.png`
and `ablation.csv`.
"""

import itertools
import json
import logging
import math
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from figures import plot_over_seeds, tidy, write
from replay import Replay
from shipped import HERE, reader
from sqlalchemy import StaticPool, create_engine

from flexsearch.config import load_config
from flexsearch.report.palette import FRONT
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.gain import NO_GAIN
from flexsearch.schedule.sampling import Sampling
from flexsearch.space.domains import Value
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.acquisition import Acquisition
from flexsearch.study.baselines import baselines_of, waves_of
from flexsearch.study.executor import run_locally
from flexsearch.study.optuna_study import OptunaStudy
from flexsearch.study.pareto import hypervolume, is_non_dominated, reference_point
from flexsearch.study.search import Search
from flexsearch.study.settings import AlgorithmName, SearchSettings
from flexsearch.study.store import Store
from flexsearch.trial.contract import Report, TrialOrder, TrialResult

QUALITY, LATENCY = OBJECTIVES = ("fid_fashion_cnn", "latency_ms")
SEEDS = HERE / "gradient_seeds.json"
IN_MEMORY = "sqlite://"
SECONDS = 240.0
"""Device seconds of a search, baselines included."""
MARKS = (0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A way to search: `changes` are of the space; `seeding` begins with the schedules of `gradient_seeds.py`, whose
    seconds count, or with as many drawn at random."""

    name: str
    algorithm: AlgorithmName = "tpe"
    acquisition: bool = False
    seeding: Literal["none", "gradient", "random"] = "none"
    changes: dict[str, str] = field(default_factory=dict)


_DEFAULT = Policy(name="TPE + acquisition (default)", acquisition=True)
POLICIES = (
    Policy(name="random", algorithm="random"),
    Policy(name="TPE", algorithm="tpe"),
    _DEFAULT,
    Policy(name="TPE + acquisition, seeded by gradient", acquisition=True, seeding="gradient"),
    Policy(name="TPE + acquisition, seeded by chance", acquisition=True, seeding="random"),
)
ABLATIONS = (
    Policy(name="solver left out", acquisition=True, changes={"space.solver": "base"}),
    Policy(name="reuse left out", acquisition=True, changes={"space.cache": "{}"}),
    Policy(name="gain left out", acquisition=True, changes={"space.gain": "{}"}),
    Policy(
        name="density left out",
        acquisition=True,
        changes={"space.segments": "[{family: dense, depth: rest}]", "space.timetable": "null", "space.dense": "false"},
    ),
)


class Judge:
    """What is known of candidates under one seed, and what they are worth under the other."""

    def __init__(self, table: pd.DataFrame, *, seed: int) -> None:
        short = table[table["images"] == table["images"].min()]
        self.seen = short[short["seed"] == seed]
        self._named = _points(self.seen)
        self._judged = _points(short[short["seed"] == 1 - seed])
        dense = [one for one in map(_candidate, self.seen["candidate"]) if _is_free_baseline(one)]
        free = np.array([self._judged[one.digest] for one in dense])
        self.reference = reference_point(free[is_non_dominated(free)])
        self.of_free = self.volume([one.digest for one in dense])
        self.of_all = self.volume(list(self._named))

    def volume(self, tried: Sequence[str]) -> float:
        """Hypervolume of the front that the trials name."""
        named = np.array([self._named[digest] for digest in tried])
        front = [digest for digest, good in zip(tried, is_non_dominated(named), strict=True) if good]
        return hypervolume(np.array([self._judged[digest] for digest in front]), reference=self.reference)

    def share(self, tried: Sequence[str]) -> float:
        return (self.volume(tried) - self.of_free) / (self.of_all - self.of_free)


def _points(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    return {digest: (quality, latency) for digest, quality, latency in rows[["digest", *OBJECTIVES]].to_numpy()}


def _candidate(text: str) -> Candidate:
    return Candidate.from_dict(json.loads(text))


def _is_free_baseline(one: Candidate) -> bool:
    """Whether it is the dense base at fewer steps under some solver: what an expert has without a search."""
    return one.schedule.is_dense and not one.reuses and one.sampling.gain == NO_GAIN


@dataclass
class Recorder:
    """Replays trials until their seconds are spent, and notes what each one cost."""

    replay: Replay
    spent: float = 0.0
    tried: list[tuple[float, str]] = field(default_factory=list)

    def __call__(self, order: TrialOrder, report: Report) -> TrialResult:
        result = self.replay(order, report)
        self.spent += sum(result.seconds.values())
        self.tried.append((self.spent, order.candidate.digest))
        return result


def space_of(policy: Policy) -> tuple[SearchSpace, SearchSettings]:
    config = load_config(HERE / "space.yaml", [f"{name}={value}" for name, value in policy.changes.items()])
    return config.search_space, config.search


def seeds_of(
    policy: Policy, space: SearchSpace, learned: Sequence[Mapping[str, Value]], *, seed: int
) -> list[Mapping[str, Value]]:
    """Parameters of the schedules that a search begins with, densest first."""
    if policy.seeding != "random":
        return list(learned) if policy.seeding == "gradient" else []
    generator = random.Random(seed)
    drawn: dict[str, tuple[float, Mapping[str, Value]]] = {}
    while len(drawn) < len(learned):
        parameters = {**space.sample(generator), "dense": False}
        schedule = space.build(parameters).schedule
        macs = space.plan(Candidate(schedule=schedule, sampling=Sampling(steps=1))).macs
        chosen = {name: parameters[name] for name in (*space.schedule_domains, "dense")}
        drawn[schedule.digest] = (macs, chosen)
    return [chosen for _, chosen in sorted(drawn.values(), key=lambda one: -one[0])]


def run(policy: Policy, table: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """One search: seconds spent and share of the hypervolume after every trial."""
    logging.disable(logging.WARNING)
    judge, (space, searched) = Judge(table, seed=seed % 2), space_of(policy)
    macs = judge.seen.set_index("digest")["macs"].to_dict()
    settings = SearchSettings(
        trials=min(len(macs), space.size or 10**9, 90),
        algorithm=policy.algorithm,
        startup=searched.startup,
        seed=seed,
        baseline_steps=searched.baseline_steps,
    )
    learned = json.loads(SEEDS.read_text())
    recorder = Recorder(
        Replay(judge.seen, objectives=OBJECTIVES, seed=seed % 2),
        spent=learned["seconds"] if policy.seeding == "gradient" else 0.0,
    )
    acquisition = Acquisition(
        num=settings.pool_size, work=lambda one: macs[one.digest], predict_ms=lambda _: None, objectives=OBJECTIVES
    )
    with tempfile.TemporaryDirectory() as folder:
        search = Search(
            optuna_study=OptunaStudy(
                None, name=policy.name, objectives=OBJECTIVES, domains=space.domains, settings=settings
            ),
            store=Store(create_engine(IN_MEMORY, poolclass=StaticPool), study=policy.name, seed=seed),
            space=space,
            baselines=baselines_of(space, settings),
            settings=settings,
            run_dir=Path(folder),
            objectives=OBJECTIVES,
            acquisition=acquisition if policy.acquisition else None,
            waves=waves_of(space, settings),
            seeds=seeds_of(policy, space, [one["parameters"] for one in learned["seeds"]], seed=seed),
        )
        run_locally(search, recorder)
    tried = [digest for _, digest in recorder.tried]
    rows = [(seconds, judge.share(tried[: index + 1])) for index, (seconds, _) in enumerate(recorder.tried)]
    return pd.DataFrame(rows, columns=["seconds", "share"]).assign(policy=policy.name, seed=seed)


def at(curve: pd.DataFrame, seconds: np.ndarray) -> np.ndarray:
    """The share after so many seconds; what came last stays."""
    places = np.searchsorted(curve["seconds"], seconds, side="right") - 1
    return np.where(places >= 0, curve["share"].to_numpy()[places.clip(0)], 0.0)


def summary(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per policy: mean and standard deviation over seeds of the share after parts of the seconds."""
    rows = []
    for name, of_policy in curves.groupby("policy", sort=False):
        of_seeds = [curve for _, curve in of_policy.groupby("seed")]
        row: dict[str, object] = {"policy": name}
        for mark in MARKS:
            shares = [at(curve, np.array([mark * SECONDS]))[0] for curve in of_seeds]
            row |= {
                f"share_at_{mark * SECONDS:.0f}_s": np.mean(shares),
                f"sd_at_{mark * SECONDS:.0f}_s": np.std(shares, ddof=1),
            }
        rows.append(
            {
                **row,
                "trials": int(np.mean([(one["seconds"] <= SECONDS).sum() for one in of_seeds])),
                "seeds": len(of_seeds),
            }
        )
    return pd.DataFrame(rows)


def paired(curves: pd.DataFrame) -> pd.DataFrame:
    """Differences of policies that see the same seeds, with their standard errors: two at a time."""
    shares = {
        name: np.array([at(curve, np.array(MARKS) * SECONDS) for _, curve in of_policy.groupby("seed")])
        for name, of_policy in curves.groupby("policy", sort=False)
    }
    rows = []
    for (first, ours), (second, theirs) in itertools.combinations(shares.items(), 2):
        if len(ours) == len(theirs) > 1:
            apart = theirs - ours
            errors = apart.std(axis=0, ddof=1) / math.sqrt(len(apart))
            row: dict[str, object] = {"policy": second, "less": first}
            for mark, mean, error in zip(MARKS, apart.mean(axis=0), errors, strict=True):
                row |= {f"share_at_{mark * SECONDS:.0f}_s": mean, f"se_at_{mark * SECONDS:.0f}_s": error}
            rows.append(row)
    return pd.DataFrame(rows)


def exhaustive(table: pd.DataFrame) -> pd.DataFrame:
    """Hypervolume of everything in the table with an axis left out, over that of all axes; mean over both seeds."""
    rows = []
    for policy in (Policy(name="all axes"), *ABLATIONS):
        space, _ = space_of(policy)
        of_space = {space.build(choice).digest for choice in space.choices()}
        shares, over_free = [], []
        for judge in (Judge(table, seed=0), Judge(table, seed=1)):
            tried = [digest for digest in judge.seen["digest"] if digest in of_space]
            shares.append(judge.share(tried))
            over_free.append(judge.volume(tried) / judge.of_free)
        rows.append(
            {
                "policy": policy.name,
                "candidates": len(of_space),
                "share_of_all": np.mean(shares),
                "over_free": np.mean(over_free),
            }
        )
    return pd.DataFrame(rows)


_COLOURS = ("#8a5a00", "#7a5aa6", "#b3261e", "#4a5462", "#00696b")
"""Of what is not the default: told apart by readers of any colour vision, and dark enough for text."""


def draw(curves: pd.DataFrame, path: Path) -> None:
    """Mean and standard deviation over seeds; every line is named at its end."""
    figure, panels = plt.subplots(1, 2, figsize=(12, 4.6), dpi=150, sharey=True)
    grid = np.linspace(0, SECONDS, 200)
    for axes, policies in zip(panels, (POLICIES, (_DEFAULT, *ABLATIONS)), strict=True):
        ends: list[tuple[float, str, str]] = []
        others = iter(_COLOURS)
        for policy in policies:
            colour = FRONT if policy is _DEFAULT else next(others)
            of_policy = curves[curves["policy"] == policy.name]
            table = np.array([at(curve, grid) for _, curve in of_policy.groupby("seed")])
            plot_over_seeds(axes, grid, table, colour=colour, band=0.08, linewidth=1.8)
            ends.append((float(table[:, -1].mean()), policy.name, colour))
        axes.axhline(1.0, color="#444444", linewidth=0.8)
        axes.set_xlabel("device seconds, baselines included")
        axes.set_ylim(0, 1.1)
        axes.set_xlim(right=1.45 * SECONDS)
        axes.set_xticks(range(0, int(SECONDS) + 1, 50))
        below = 2.0
        for end, name, colour in sorted(ends, reverse=True):
            below = min(end, below - 0.055)
            axes.text(1.02 * SECONDS, below, name.removeprefix("TPE + "), color=colour, fontsize=8.5, va="center")
        tidy(axes)
    panels[0].annotate("everything in the table", (0, 1.01), ha="left", va="bottom", fontsize=8)
    panels[0].set_ylabel("share of the table's hypervolume\nbeyond the free baselines")
    write(figure, path)


if __name__ == "__main__":
    parser = reader(__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="of every policy")
    parser.add_argument("--ablation-seeds", type=int, default=5, help="of the default policy without an axis")
    parser.add_argument("--jobs", type=int, default=2, help="searches at once")
    parser.add_argument("--policies", nargs="*", help="names that contain one of these; all if none is given")
    arguments = parser.parse_args()
    table = pd.read_parquet(arguments.table)
    everyone = (*POLICIES, *ABLATIONS)
    chosen = [one for one in everyone if any(part in one.name for part in arguments.policies or [""])]
    curves = []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for policy in chosen:
            begun = time.monotonic()
            num = arguments.ablation_seeds if policy in ABLATIONS else arguments.seeds
            searches = [pool.submit(run, policy, table, seed=seed) for seed in range(num)]
            curves += [search.result() for search in searches]
            print(f"{policy.name}: {time.monotonic() - begun:.0f} s", flush=True)
    everything = pd.concat(curves, ignore_index=True)
    everything.to_csv(arguments.out / "compare_curves.csv", index=False, float_format="%.4g")
    found = summary(everything)
    found.to_csv(arguments.out / "compare.csv", index=False, float_format="%.4g")
    print(found.to_string(index=False, float_format="%.3g"))
    differences = paired(everything)
    differences.to_csv(arguments.out / "compare_paired.csv", index=False, float_format="%.4g")
    print(differences.to_string(index=False, float_format="%.3g"))
    ablation = exhaustive(table)
    ablation.to_csv(arguments.out / "ablation.csv", index=False, float_format="%.4g")
    print(ablation.to_string(index=False, float_format="%.3g"))
    if len(chosen) == len(everyone):
        draw(everything, arguments.out / "compare.png")
