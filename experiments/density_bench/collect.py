"""Collects what `evaluate.py` left into `table.parquet`: the benchmark itself.

    uv run python experiments/density_bench/collect.py

Rows that are in the table already stay, so that it can grow on several machines. Latencies do not depend on weights:
new rows take those of their candidate, all timed on one machine, from the table. One row per candidate (schedule and
sampler steps), start, seed and own updates. Columns, beside those that name the row:

| column | what |
|---|---|
| `digest` | of the candidate; `schedule_digest` of the schedule alone |
| `baseline` | "dense", "FlexDiT paper", or none |
| `start` | of the fine-tune: "warm", the quickstart's warm start; others are no longer evaluated |
| `seconds_start` | core seconds of that start, once for all schedules |
| `fid_fashion_cnn` | Frechet distance of `images` samples to the 60,000 training images |
| `fid_100`, `fid_200`, `fid_first_half`, `fid_second_half` | the same of some of them |
| `fid_to_dense`, `feature_distance`, `pixel_distance` | to the dense base's samples at 10 steps from the same noise |
| `drift` | `feature_distance` as a trial reports it: the root, over that of unrelated samples of the dense base |
| `loss`, `distance_to_dense` | on fixed batches: training loss, mean squared distance to the dense base's output |
| `latency_ms`, `latency_spread` | per image, as a trial measures it |
| `macs` | of one forward pass of one row, averaged over the sampler's steps |
| `seconds_training` | core seconds of the fine-tune up to here |
| `seconds_judging`, `seconds_loss` | core seconds of the samples and their distance; of loss and distance |

The protocol is in the table's metadata (`pandas.read_parquet(...).attrs`).
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from evaluate import LENGTHS, baselines, open_bench
from shipped import TABLE
from trajectory import FIXED_BATCHES, Bench

from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.sampling import Sampling

WARM_START_SECONDS = 2533.0  # of one core, from the receipt of the quickstart's warm start
KEY = ["digest", "start", "seed", "updates"]
LOSSES = ("loss", "distance_to_dense")
DISTANCES = (
    "fid_100",
    "fid_200",
    "fid_first_half",
    "fid_second_half",
    "fid_to_dense",
    "feature_distance",
    "pixel_distance",
)


def rows(context: Bench) -> Iterator[dict[str, Any]]:
    """The rows of every trajectory, without their latencies."""
    dense, paper = baselines(context.config)
    names = {dense.digest: "dense", paper.digest: "FlexDiT paper"}
    space = context.config.search_space
    for path in sorted(context.folder.glob("*-*/schedule.json")):
        schedule = DensitySchedule.from_dict(json.loads(path.read_text()))
        for file in sorted(path.parent.glob("[0-9]*.json"), key=lambda file: int(file.stem)):
            found = json.loads(file.read_text())
            for steps, quality in found["samples"].items():
                candidate = Candidate(schedule=schedule, sampling=Sampling(steps=int(steps)))
                yield {
                    "digest": candidate.digest,
                    "schedule_digest": schedule.digest,
                    "schedule": str(schedule),
                    "candidate": json.dumps(candidate.to_dict()),
                    "baseline": names.get(schedule.digest),
                    "start": "warm",
                    "seed": found["seed"],
                    "updates": found["update"],
                    "sampler_steps": int(steps),
                    "images": quality.get("images", context.config.objectives.quality.images),
                    "fid_fashion_cnn": quality["fid"],
                    **{name: quality.get(name) for name in DISTANCES},
                    **{name: found[name] for name in LOSSES},
                    "macs": space.plan(candidate).macs / (int(steps) * space.target.rows),
                    "seconds_start": WARM_START_SECONDS,
                    "seconds_training": found["training_seconds"],
                    "seconds_judging": quality["seconds"],
                    "seconds_loss": found["loss_seconds"],
                }


def unrelated(context: Bench) -> float:
    """Mean squared distance of features, per feature, between unrelated samples of the dense base."""
    dense = context.features(context.dense_samples(0, context.config.objectives.quality.images))
    return float(2.0 * dense.double().var(dim=0).mean())


def core_hours(table: pd.DataFrame) -> float:
    """What the rows cost: the longest fine-tune of every trajectory, every measurement once, the warm starts."""
    milestones = table.drop_duplicates(["schedule_digest", "start", "seed", "updates"])
    trajectories = milestones.groupby(["schedule_digest", "start", "seed"])["seconds_training"].max()
    starts = table.drop_duplicates("start")["seconds_start"].sum()
    seconds = starts + trajectories.sum() + milestones["seconds_loss"].sum() + table["seconds_judging"].sum()
    return float(seconds / 3600)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/density_bench"))
    parser.add_argument("--out", type=Path, default=TABLE)
    arguments = parser.parse_args()
    context = open_bench(arguments.runs, most_updates=max(LENGTHS))
    before = pd.read_parquet(arguments.out)
    latencies = before[["digest", "latency_ms", "latency_spread"]].drop_duplicates("digest")
    table = pd.DataFrame(rows(context)).merge(latencies, on="digest", how="left")
    latency_protocol = before.attrs["protocol"]["latency"]
    table = pd.concat([before, table]).drop_duplicates(KEY, keep="last").sort_values(KEY, ignore_index=True)
    table["drift"] = (table["feature_distance"] / unrelated(context)) ** 0.5
    config = context.config
    table.attrs["protocol"] = {
        "space": dict(config.space),
        "trial": vars(config.trial),
        "sampler": type(context.inputs.base.scheduler).__name__,
        "spacing": config.sampling.spacing,
        "guidance": config.sampling.guidance,
        "extractor": config.objectives.quality.extractor,
        "fixed_batches": FIXED_BATCHES,
        "latency": latency_protocol,
        "torch": torch.__version__,
        "core_hours": round(core_hours(table), 2),
    }
    table.to_parquet(arguments.out, index=False)
    counts = table.groupby(["start", "seed", "updates"])["digest"].nunique()
    print(counts.to_string())
    print(f"{len(table)} rows, {table.attrs['protocol']['core_hours']} core hours, {arguments.out}")
