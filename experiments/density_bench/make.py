"""Makes the benchmark's table: every candidate of a small space really trained, sampled and timed.

    uv run python experiments/density_bench/make.py --seed 0     # once per seed and core; goes on where it stopped
    uv run python experiments/density_bench/make.py --seed 1
    uv run python experiments/density_bench/make.py --long       # schedules after ten times the updates
    uv run python experiments/density_bench/make.py --time       # latencies; wants a quiet machine
    uv run python experiments/density_bench/make.py --collect    # adds what is there to table.parquet

Every schedule is fine-tuned once per seed from the quickstart's warm start, as a trial would, and sampled in every way
of the space. About 40 minutes of one core per seed, 30 for `--long`, 5 for `--time`.

| column | what |
|---|---|
| `digest`, `candidate` | the candidate; `schedule` and `sampling` spell it |
| `seed` | of the fine-tune and of the noise that images are drawn from |
| `updates` | of the fine-tune; 0 for the dense base |
| `images` | drawn |
| `fid_fashion_cnn` | Frechet distance to the 60,000 training images |
| `latency_ms` | per image |
| `macs` | per image |
| `seconds_training`, `seconds_judging` | CPU seconds of the fine-tune, and of samples and their distance |
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from shipped import HERE, TABLE

sys.path.append(str(HERE.parent))
from fine_tunes import averaged, by_data, drawn_features, opened, quality_of, started

from flexsearch.config import load_config
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule import Cache, Candidate, DensitySchedule, Sampling
from flexsearch.schedule.gain import NO_GAIN
from flexsearch.schedule.presets import paper_schedule
from flexsearch.space.search_space import SearchSpace
from flexsearch.trial.context import TrialContext
from flexsearch.trial.timing import timer_of

LONG = 10
"""How many times a trial's updates a long fine-tune has."""
LONG_IMAGES = 2000
ROUNDS = 5


def candidates(space: SearchSpace) -> dict[DensitySchedule, list[Sampling]]:
    """The space, and what `baselines_of` and its waves may ask for, by schedule."""
    found: dict[str, Candidate] = {}
    for parameters in space.choices():
        one = space.build(parameters)
        found.setdefault(one.digest, one)
    dense = DensitySchedule.all_dense(space.num_blocks)
    paper = paper_schedule(num_blocks=space.num_blocks, grid=space.grid)
    for solver in ("base", "ab2"):
        plain = Sampling(steps=6, solver=solver)
        extra = [Candidate(schedule=paper, sampling=plain)]
        for steps in (6, 5):
            for interval in (2, 3):
                cache = Cache(full=-(-steps // interval) / steps, first=0, last=0, order=0, reuse="modules")
                extra.append(Candidate(schedule=dense, sampling=replace(plain, steps=steps, cache=cache)))
        found |= {one.digest: one for one in extra}
    by_schedule: dict[DensitySchedule, list[Sampling]] = {}
    for one in found.values():
        by_schedule.setdefault(one.schedule, []).append(one.sampling)
    return by_schedule


def long_samplings() -> list[Sampling]:
    """Few ways to sample what was trained long: with and without reuse and gain."""
    plain = [Sampling(steps=steps, solver=solver) for solver in ("base", "ab2") for steps in (3, 5)]
    return [*plain, *(replace(one, gain=replace(NO_GAIN, stream=0.85, at=4)) for one in plain[2:])]


def trained(context: TrialContext, schedule: DensitySchedule, *, seed: int, updates: int) -> tuple[FlexDiT, float]:
    """A schedule's averaged weights and the CPU seconds that they took; the dense base is not trained."""
    if schedule.is_dense:
        return context.inputs.base.model, 0.0
    begun = time.process_time()
    optimisation = replace(context.settings.trial, updates=updates)
    found = averaged(by_data(context, started(context, schedule), optimisation, seed=seed))
    return found, time.process_time() - begun


def judged(context: TrialContext, model: FlexDiT, candidate: Candidate, *, seed: int, images: int) -> dict[str, Any]:
    """Draw and measure a candidate's samples."""
    begun = time.process_time()
    features = drawn_features(context, model, candidate, num=images, seed=seed)
    quality = quality_of(context, features)
    return {
        quality.name: quality.value,
        "macs": context.space.plan(candidate).macs,
        "seconds_judging": time.process_time() - begun,
    }


def extend(
    context: TrialContext,
    schedule: DensitySchedule,
    samplings: Sequence[Sampling],
    path: Path,
    *,
    seed: int,
    updates: int,
    images: int,
) -> None:
    """Add the rows of one schedule that its file lacks: a line of JSON each."""
    updates = 0 if schedule.is_dense else updates
    path.parent.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    wanted = [Candidate(schedule=schedule, sampling=one) for one in samplings]
    missing = [one for one in wanted if one.digest not in {row["digest"] for row in known}]
    if not missing:
        return
    model, seconds = trained(context, schedule, seed=seed, updates=updates)
    for candidate in missing:
        row = {
            "digest": candidate.digest,
            "candidate": json.dumps(candidate.to_dict()),
            "schedule": str(schedule),
            "sampling": str(candidate.sampling),
            "seed": seed,
            "updates": updates,
            "images": images,
            "seconds_training": seconds,
            **judged(context, model, candidate, seed=seed, images=images),
        }
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
    print(schedule, f"seed {seed}, {updates} updates: {len(missing)} samplings", flush=True)


def timed(context: TrialContext, everything: Sequence[Candidate], path: Path) -> None:
    """Time what differs: gain, and the solver's own sums, cost nothing that can be measured."""
    timer = timer_of(context.settings, context.inputs)
    plans = {}
    for candidate in everything:
        plan = context.space.plan(replace(candidate, sampling=replace(candidate.sampling, gain=NO_GAIN)))
        plans.setdefault(latency_key(candidate), plan)
    found: dict[str, list[float]] = {key: [] for key in plans}
    for _ in range(ROUNDS):
        for key, plan in plans.items():
            latency, _ = timer.measure(plan)
            found[key].append(latency.value)
    path.write_text(json.dumps({key: statistics.median(values) for key, values in found.items()}, indent=1))


def latency_key(candidate: Candidate) -> str:
    """Spell what latency depends on."""
    return str(replace(candidate, sampling=replace(candidate.sampling, gain=NO_GAIN, solver="ab2")))


def collected(runs: Path, known: pd.DataFrame) -> pd.DataFrame:
    """Add the rows that were made to those that are known.

    Latencies are measured at once, by `--time`, and all rows get them; else new rows get those of known ones that take
    the same time, and are left out where there is none."""
    key = ["digest", "seed", "updates", "images"]
    rows = [json.loads(line) for path in sorted(runs.glob("rows-*/*.jsonl")) for line in path.read_text().splitlines()]
    table = pd.concat([pd.DataFrame(rows), known]).drop_duplicates(key).sort_values(key, ignore_index=True)
    everything = [Candidate.from_dict(json.loads(text)) for text in table["candidate"]]
    table["digest"] = [one.digest for one in everything]
    table["sampling"] = [str(one.sampling) for one in everything]
    takes = pd.Series([latency_key(one) for one in everything])
    measured, path = table["latency_ms"], runs / "latency.json"
    is_timed = measured.notna()
    known_times = dict(zip(takes[is_timed], measured[is_timed], strict=True))
    times = json.loads(path.read_text()) if path.exists() else known_times
    table["latency_ms"] = takes.map(times)
    is_unknown = table["latency_ms"].isna()
    print(f"left out, without a latency: {is_unknown.sum()} rows, {sorted(set(table.loc[is_unknown, 'schedule']))}")
    return table[~is_unknown]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--collect", action="store_true")
    parser.add_argument("--runs", type=Path, default=Path("runs/density_bench"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config, runs = load_config(HERE / "space.yaml"), arguments.runs
    if arguments.collect:
        table = collected(runs, pd.read_parquet(TABLE))
        table.to_parquet(TABLE, index=False)
        print(table.groupby(["seed", "updates", "images"]).size())
        return
    context, everything = opened(runs / "quickstart"), candidates(config.search_space)
    updates, images = config.trial.updates, config.objectives.quality.images
    if arguments.time:
        timed(
            context,
            [Candidate(schedule=a, sampling=b) for a, bs in everything.items() for b in bs],
            runs / "latency.json",
        )
        return
    kind = "long" if arguments.long else "table"
    for schedule, samplings in everything.items():
        path = runs / f"rows-{kind}-{arguments.seed}" / f"{schedule.digest}.jsonl"
        if arguments.long:
            samplings, updates, images = long_samplings(), LONG * config.trial.updates, LONG_IMAGES
        extend(context, schedule, samplings, path, seed=arguments.seed, updates=updates, images=images)


if __name__ == "__main__":
    main()
