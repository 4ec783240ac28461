"""Evaluates the benchmark's space, one trajectory after the other. Start it once per core; it goes on where it stopped.

    uv run python experiments/density_bench/evaluate.py table --seed 0
    uv run python experiments/density_bench/evaluate.py long --seed 0
    uv run python experiments/density_bench/evaluate.py table --seed 1
    uv run python experiments/density_bench/evaluate.py long --seed 1

`table` runs all 42 schedules to both lengths. `long` carries every second schedule's trajectory on. Then `collect.py`
adds them to the table; what it holds is not run again. Takes per seed about an hour of one core for the table, and two
and a quarter for the long trajectories.
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


def open_bench(runs: Path, *, most_updates: int) -> Bench:
    """The benchmark's shared files, made if they are not there."""
    config, start = load_config(HERE / "space.yaml"), load_config(QUICKSTART)
    folder = runs / "warm"
    shared_only = replace(start.trial_settings, trial=replace(start.trial, updates=0))
    prepare(folder, shared_only, seed=0, report=lambda *_: None)
    return Bench(config=config, folder=folder, start=start, most_updates=most_updates)


def table(context: Bench, *, seed: int) -> None:
    for schedule in (*baselines(context.config), *schedules(context.config)):
        updates = (0,) if schedule.is_dense else LENGTHS
        _extend(context, schedule, seed=seed, milestones=tuple(Milestone(update=update) for update in updates))


def long(context: Bench, *, seed: int, up_to: int) -> None:
    """Every second schedule; milestones but the last are judged at fewer numbers of sampler steps."""
    *updates, last = (update for update in LATER if update <= up_to)
    milestones = (
        *(Milestone(update=update, sampler_steps=LATE_STEPS) for update in updates),
        Milestone(update=last, images=FINAL_IMAGES),
    )
    for schedule in schedules(context.config)[::2]:
        _extend(context, schedule, seed=seed, milestones=milestones)


def _in_table(context: Bench, schedule: DensitySchedule, *, seed: int, milestones: tuple[Milestone, ...]) -> bool:
    """Whether the table holds the trajectory already, perhaps from another machine."""
    if not TABLE.exists():
        return False
    rows = pd.read_parquet(TABLE, columns=["schedule_digest", "start", "seed", "updates", "sampler_steps"])
    mine = rows[
        (rows["schedule_digest"] == schedule.digest) & (rows["start"] == context.folder.name) & (rows["seed"] == seed)
    ]
    judged = set(zip(mine["updates"], mine["sampler_steps"], strict=True))
    return all((one.update, steps) in judged for one in milestones for steps in one.sampler_steps)


def _extend(context: Bench, schedule: DensitySchedule, *, seed: int, milestones: tuple[Milestone, ...]) -> None:
    if _in_table(context, schedule, seed=seed, milestones=milestones):
        return
    if extend(context, schedule, seed=seed, milestones=milestones):
        print(schedule, "seed", seed, "to", milestones[-1].update, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", "long"])
    parser.add_argument("--seed", type=int, default=0, help="of training, and of the noise that images are drawn from")
    parser.add_argument("--up-to", type=int, default=max(LATER), help="the last milestone of long trajectories")
    parser.add_argument("--runs", type=Path, default=Path("runs/density_bench"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "table":
        table(open_bench(arguments.runs, most_updates=max(LENGTHS)), seed=arguments.seed)
    else:
        long(open_bench(arguments.runs, most_updates=arguments.up_to), seed=arguments.seed, up_to=arguments.up_to)
