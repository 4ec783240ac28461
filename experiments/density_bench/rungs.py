"""Early stopping by outlook or by distance: which finds more of what is best after long training, at equal cost?

    uv run python experiments/density_bench/rungs.py

Candidates of `outlook.py` come in random order and are trained for 160 updates, unless the rung before their own
updates stops them: by `goes_on` of `flexsearch.study.early_stopping`, half of them go on, compared by distance or by
outlook. Cost is counted in trials that are trained to the end, in the table's core seconds, the rung's images included;
"free rung" counts the rung as nothing, as where fine-tunes are long. The front is named by outlook and judged by what
converged under the other seed. Writes `rungs.csv`; takes a minute.
"""

import argparse
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from predicted_distance import LATENCY, QUALITY, Bench, named_share
from shipped import HERE, TABLE

from flexsearch.objectives.settings import PAIRED_DISTANCE
from flexsearch.study.early_stopping import goes_on
from flexsearch.study.predicted_distance import scores
from flexsearch.study.store import TrialRecord
from flexsearch.trial.contract import Rung

UPDATES = 160
KEEP = 0.5
COSTS = (12, 16, 24, 32)
NONE, DISTANCE, PREDICTED_DISTANCE = "none", "by distance", "by outlook"
COUNTED, FREE = "counted", "free"


def with_rungs(context: Bench, before: Bench, *, has_drift: bool) -> list[TrialRecord]:
    """The trials of `bench` with what `before` holds of them, before own updates, as their rung."""
    found = []
    for record, early in zip(context.searched, before.searched, strict=True):
        assert record.digest == early.digest
        paired_distance = early.measurements[PAIRED_DISTANCE].value if has_drift else None
        rung = Rung(updates=0, quality=early.measurements[QUALITY].value, paired_distance=paired_distance)
        found.append(replace(record, rungs=(rung,)))
    return found


def search(context: Bench, trials: list[TrialRecord]) -> Iterator[tuple[TrialRecord, bool]]:
    """Trials in order, and whether each one goes on."""
    reached: list[TrialRecord] = []
    for record in trials:
        reached.append(record)
        if not record.rungs:
            yield record, True
            continue
        score = scores([*context.dense, *reached], quality=QUALITY, updates=0)
        points = np.array([[score[one.number], one.measurements[LATENCY].value] for one in reached])
        yield record, goes_on(points, len(reached) - 1, keep=KEEP)


def found_at(
    context: Bench, searched: list[tuple[TrialRecord, bool]], seconds: pd.DataFrame, *, rung_costs: bool
) -> dict[int, float]:
    """What the front is worth at every cost of `COSTS`."""
    full, spent, ended = seconds["full"].mean(), 0.0, []
    found = {}
    for record, on in searched:
        row = seconds.loc[record.digest]
        spent += float((row["rung"] if rung_costs and record.rungs else 0.0) + (row["full"] if on else 0.0)) / full
        for cost in COSTS:
            if spent > cost and cost not in found:
                found[cost] = named_share(context, ended, by="outlook")
        if on:
            ended.append(record)
    return found


def seconds_of(table: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Core seconds by candidate: of the rung, and of a whole trial without it."""
    rows = table[(table["start"] == "warm") & (table["seed"] == seed)].set_index("digest")
    before, after = rows[rows["updates"] == 0], rows[rows["updates"] == UPDATES]
    full = after["seconds_training"] + after["seconds_judging"]
    return pd.DataFrame({"rung": before["seconds_judging"], "full": full}).dropna()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--seeds", type=int, default=100)
    arguments = parser.parse_args()
    table = pd.read_parquet(arguments.table)
    rows = []
    for own in (0, 1):
        context = Bench.of(table, seed=own, updates=UPDATES)
        before, seconds = Bench.of(table, seed=own, updates=0), seconds_of(table, seed=own)
        policies = {
            NONE: context.searched,
            DISTANCE: with_rungs(context, before, has_drift=False),
            PREDICTED_DISTANCE: with_rungs(context, before, has_drift=True),
        }
        for policy, trials in policies.items():
            for seed in range(own, arguments.seeds, 2):
                order = list(trials)
                random.Random(seed).shuffle(order)
                searched = list(search(context, order))
                for rung in (COUNTED, FREE):
                    found = found_at(context, searched, seconds, rung_costs=rung == COUNTED)
                    rows += [
                        {"rung": rung, "stopping": policy, "full_trials": cost, "seed": seed, "share": share}
                        for cost, share in found.items()
                    ]
    groups = pd.DataFrame(rows).groupby(["rung", "stopping", "full_trials"], sort=False)["share"]
    summary = groups.agg(["mean", "std", "count"]).reset_index()
    summary.to_csv(arguments.out / "rungs.csv", index=False, float_format="%.4g")
    print(summary.to_string(index=False, float_format="%.4f"))
