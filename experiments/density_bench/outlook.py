"""Does a search that goes by outlook find what is best after long training? Judged on converged schedules.

    uv run python experiments/density_bench/outlook.py

Candidates are the benchmark's schedules that were trained to the end, at every number of sampler steps. A search sees
of them what a trial measures (distance after 40 updates, drift, latency) and chooses by the very `Acquisition` that
`flexsearch run` uses, every fourth at random in place of a sampler. Then it names a front, by distance or by outlook.
What it has found is judged by the distances of that front that converged under another seed: the hypervolume in
logarithm of distance and latency, over that of the best front there is. One half of the searches see trials of the
table's seed 0 and are judged by seed 1, the other half the other way round. Writes `outlook.csv` and `outlook.png`;
takes a minute.
"""

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import moocore
import numpy as np
import pandas as pd
from figures import plot_over_seeds, tidy, write
from shipped import reader

from flexsearch.measurement import Measurement
from flexsearch.objectives.settings import PAIRED_DISTANCE
from flexsearch.schedule.candidate import Candidate
from flexsearch.study.acquisition import SAMPLER_EVERY, Acquisition
from flexsearch.study.predicted_distance import predicted_distances
from flexsearch.study.settings import SearchSettings
from flexsearch.study.store import TrialRecord

QUALITY, LATENCY = OBJECTIVES = ("fid_fashion_cnn", "latency_ms")
UPDATES = 40
STARTUP = 8
TRIALS = 40
MARGIN = 1.1


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How candidates are chosen: at random, by a screen that sees no drift, or by one that does; and the front."""

    name: str
    guide: str
    front: str
    colour: str


POLICIES = (
    Policy(name="at random, front by distance", guide="random", front="distance", colour="#888888"),
    Policy(name="screened by distance, front by distance", guide="distance", front="distance", colour="#0b6e99"),
    Policy(name="screened by distance, front by outlook", guide="distance", front="outlook", colour="#8fc1d4"),
    Policy(name="screened by outlook, front by outlook (default)", guide="outlook", front="outlook", colour="#d1495b"),
)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is known of candidates by trial number; dense baselines come first."""

    dense: list[TrialRecord]
    searched: list[TrialRecord]
    converged: dict[int, float]
    work: dict[str, float]

    @classmethod
    def of(cls, table: pd.DataFrame, *, seed: int, updates: int) -> "Bench":
        """Trials of so many updates under `seed`, and what converged under the other one: they share no noise."""
        table = table[table["start"] == "warm"]
        schedules, mine = table[table["baseline"].isna()], table[table["seed"] == seed]
        dense = mine[mine["baseline"] == "dense"].drop_duplicates("digest")
        longest = schedules[(schedules["updates"] == schedules["updates"].max()) & (schedules["seed"] == 1 - seed)]
        final = longest.set_index("digest")[QUALITY]
        short = mine[mine["baseline"].isna() & (mine["updates"] == updates) & mine["digest"].isin(final.index)]
        rows = pd.concat([dense, short])
        records = [_record(number, row) for number, (_, row) in enumerate(rows.iterrows())]
        return cls(
            dense=records[: len(dense)],
            searched=records[len(dense) :],
            converged={one.number: float(final[one.digest]) for one in records[len(dense) :]},
            work=dict(zip(rows["digest"], rows["macs"] * rows["sampler_steps"], strict=True)),
        )

    def share(self, chosen: list[TrialRecord]) -> float:
        """Converged hypervolume of trials, over that of all."""
        return self._volume(chosen) / self._volume(self.searched)

    def _volume(self, records: list[TrialRecord]) -> float:
        worst = np.max([self._point(one) for one in self.searched], axis=0)
        reference = worst + np.array([np.log(MARGIN), (MARGIN - 1) * worst[1]])
        return float(moocore.hypervolume(np.array([self._point(one) for one in records]), ref=reference))

    def _point(self, record: TrialRecord) -> tuple[float, float]:
        return float(np.log(self.converged[record.number])), record.measurements[LATENCY].value


def _record(number: int, row: pd.Series) -> TrialRecord:
    found = {QUALITY: row[QUALITY], LATENCY: row[LATENCY], PAIRED_DISTANCE: row["drift"]}
    return TrialRecord(
        number=number,
        candidate=Candidate.from_dict(json.loads(row["candidate"])),
        baseline=row["baseline"],
        state="complete",
        reason=None,
        attempts=1,
        started="",
        ended="",
        measurements={name: Measurement(name=name, value=float(value), unit="1") for name, value in found.items()},
        rungs=(),
    )


def without_drift(records: list[TrialRecord]) -> list[TrialRecord]:
    return [
        replace(one, measurements={name: found for name, found in one.measurements.items() if name != PAIRED_DISTANCE})
        for one in records
    ]


def front(context: Bench, records: list[TrialRecord], *, by: str) -> list[TrialRecord]:
    """The trials that no other beats in latency and distance, or in latency and outlook."""
    score = predicted_distances([*context.dense, *records], quality=QUALITY)
    if by == "distance":
        score = {one.number: one.measurements[QUALITY].value for one in records}
    points = np.array([[score[one.number], one.measurements[LATENCY].value] for one in records])
    return [one for one, good in zip(records, moocore.is_nondominated(points), strict=True) if good]


def named_share(context: Bench, records: list[TrialRecord], *, by: str) -> float:
    """What the front that some trials name is worth after long training."""
    return context.share(front(context, records, by=by))


def search(context: Bench, guide: str, *, seed: int) -> list[TrialRecord]:
    """The trials of a search, in order."""
    generator, left = random.Random(seed), list(context.searched)
    generator.shuffle(left)
    done = [left.pop() for _ in range(STARTUP)]
    acquisition = Acquisition(
        num=SearchSettings().pool_size,
        work=lambda one: context.work[one.digest],
        predict_ms=lambda _: None,
        objectives=OBJECTIVES,
    )
    while len(done) < TRIALS:
        if guide == "random" or len(done) % SAMPLER_EVERY == 0:
            done.append(left.pop())
            continue
        known = [*context.dense, *done]
        records = known if guide == "outlook" else without_drift(known)
        done.append(left.pop(acquisition.best([one.candidate for one in left], records)))
    return done


def draw(found: pd.DataFrame, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7.5, 4.5), dpi=150)
    for policy in POLICIES:
        shares = found[found["policy"] == policy.name].pivot_table(index="seed", columns="trials", values="share")
        plot_over_seeds(
            axes,
            shares.columns,
            shares.to_numpy(),
            colour=policy.colour,
            band=0.12,
            linewidth=1.6,
            label=policy.name,
        )
    axes.axhline(1.0, color="#444444", linewidth=0.8)
    axes.annotate("the best front there is", (TRIALS, 1.0), ha="right", va="bottom", fontsize=8)
    axes.set_xlabel("searched trials")
    axes.set_ylabel("converged hypervolume of the named front, share")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    tidy(axes)
    write(figure, path)


if __name__ == "__main__":
    parser = reader(__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    table = pd.read_parquet(arguments.table)
    benches = [Bench.of(table, seed=seed, updates=UPDATES) for seed in (0, 1)]
    searches = {
        (guide, seed): search(benches[seed % 2], guide, seed=seed)
        for guide in dict.fromkeys(policy.guide for policy in POLICIES)
        for seed in range(arguments.seeds)
    }
    rows = [
        {
            "policy": policy.name,
            "seed": seed,
            "trials": num,
            "share": named_share(benches[seed % 2], searches[policy.guide, seed][:num], by=policy.front),
        }
        for policy in POLICIES
        for seed in range(arguments.seeds)
        for num in range(STARTUP, TRIALS + 1, 2)
    ]
    found = pd.DataFrame(rows)
    summary = found.groupby(["policy", "trials"], sort=False)["share"].agg(["mean", "std", "count"]).reset_index()
    summary.to_csv(arguments.out / "outlook.csv", index=False, float_format="%.4g")
    draw(found, arguments.out / "outlook.png")
    print(summary[summary["trials"].isin([16, 24, 40])].to_string(index=False, float_format="%.4f"))
    for by in ("distance", "outlook"):
        of_all = [named_share(context, context.searched, by=by) for context in benches]
        print(f"all {len(benches[0].searched)} candidates, front by {by}: {of_all[0]:.4f}, {of_all[1]:.4f}")
