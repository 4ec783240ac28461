"""Evaluates the benchmark's space, one trajectory after the other. Start it once per core; it goes on where it stopped.

    uv run python experiments/density_bench/evaluate.py table --seed 0
    uv run python experiments/density_bench/evaluate.py long --seed 0
    uv run python experiments/density_bench/evaluate.py table --seed 1
    uv run python experiments/density_bench/evaluate.py long --seed 1

`table` runs all 42 schedules to both lengths. `long` carries every second schedule's trajectory on, `plain` begins them
with the dense base in place of the warm start. Then `latencies.py` times every candidate and `collect.py` makes the
table; what it holds is not run again. Takes per seed about an hour of one core for the table, and two and a quarter for
the long trajectories.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from shipped import HERE, TABLE
from trajectory import FINAL_IMAGES, LATE_STEPS, Bench, Milestone, extend

from flexsearch.config import RunConfig, load_config
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.presets import paper_schedule
from flexsearch.trial.prepare import prepare

QUICKSTART = HERE.parents[1] / "search_spaces" / "quickstart.yaml"
LENGTHS = (0, 40, 160)
LATER = (320, 640, 1280, 2560)
PLAIN = (40, 160)


def schedules(config: RunConfig) -> list[DensitySchedule]:
    """The space's schedules, each once, in an order in which any beginning is spread over the space."""
    space = config.search_space
    found = {space.build(choice).schedule.digest: space.build(choice).schedule for choice in space.choices()}
    return [found[digest] for digest in sorted(found)]


def baselines(config: RunConfig) -> list[DensitySchedule]:
    """The dense base, and the paper's schedule."""
    space = config.search_space
    return [
        DensitySchedule.all_dense(space.num_blocks),
        paper_schedule(num_blocks=space.num_blocks, grid=space.grid),
    ]


def open_bench(runs: Path, *, warm: bool, most_updates: int) -> Bench:
    """The benchmark's shared files, made if they are not there."""
    config, start = load_config(HERE / "space.yaml"), load_config(QUICKSTART)
    folder = runs / ("warm" if warm else "plain")
    shared_only = replace(start.trial_settings, trial=replace(start.trial, updates=0))
    prepare(folder, shared_only, seed=0, report=lambda *_: None)
    return Bench(config=config, folder=folder, start=start if warm else None, most_updates=most_updates)


def table(context: Bench, *, seed: int) -> None:
    for schedule in (*baselines(context.config), *schedules(context.config)):
        updates = (0,) if schedule.is_dense else LENGTHS
        _extend(context, schedule, seed=seed, milestones=tuple(Milestone(update=update) for update in updates))


def long(context: Bench, milestones: tuple[Milestone, ...], *, seed: int) -> None:
    for schedule in schedules(context.config)[::2]:
        _extend(context, schedule, seed=seed, milestones=milestones)


def late(*updates: int) -> tuple[Milestone, ...]:
    """Milestones that are judged at fewer numbers of sampler steps."""
    return tuple(Milestone(update=update, sampler_steps=LATE_STEPS) for update in updates)


def _in_table(context: Bench, schedule: DensitySchedule, *, seed: int, milestones: tuple[Milestone, ...]) -> bool:
    """Whether the table holds the trajectory already, perhaps from another machine."""
    if not TABLE.exists():
        return False
    rows = pd.read_parquet(TABLE, columns=["schedule_digest", "start", "seed", "updates", "sampler_steps"])
    mine = rows[
        (rows["schedule_digest"] == schedule.digest) & (rows["start"] == context.folder.name) & (rows["seed"] == seed)
    ]
    judged = set(zip(mine["updates"], mine["sampler_steps"], strict=True))
    return all((one.update, steps) in judged for one in milestones for steps in one.sampling.steps)


def _extend(context: Bench, schedule: DensitySchedule, *, seed: int, milestones: tuple[Milestone, ...]) -> None:
    if _in_table(context, schedule, seed=seed, milestones=milestones):
        return
    if extend(context, schedule, seed=seed, milestones=milestones):
        print(schedule, "seed", seed, "to", milestones[-1].update, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", "long", "plain"])
    parser.add_argument("--seed", type=int, default=0, help="of training, and of the noise that images are drawn from")
    parser.add_argument("--up-to", type=int, default=max(LATER), help="the last milestone of long trajectories")
    parser.add_argument("--runs", type=Path, default=Path("runs/density_bench"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    match arguments.what:
        case "table":
            table(open_bench(arguments.runs, warm=True, most_updates=max(LENGTHS)), seed=arguments.seed)
        case "long":
            context = open_bench(arguments.runs, warm=True, most_updates=arguments.up_to)
            *updates, last = (update for update in LATER if update <= arguments.up_to)
            long(context, (*late(*updates), Milestone(update=last, images=FINAL_IMAGES)), seed=arguments.seed)
        case "plain":
            long(open_bench(arguments.runs, warm=False, most_updates=max(PLAIN)), late(*PLAIN), seed=arguments.seed)
