"""Elastic warm starts of other lengths and another sampling rule: how well does each rank the schedules?

    uv run python experiments/density_bench/starts.py

Trains the warm starts below on the benchmark's own space, then judges every second schedule from each of them, before
any own update, after 160 and after 320. Each is a folder beside `warm` (the quickstart's, 6,000 updates on its wider
space) and `plain`; `collect.py` and `ranking.py` read them all. About half an hour of one core for each; it goes on
where it stopped.

- `uniform`: every update draws a schedule uniformly from the space.
- `sandwich`: in turn a drawn schedule, that with the most MACs and that with the fewest. Source: Yu & Huang 2019 (arXiv
  1903.05134), which takes all of them in one update.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from evaluate import QUICKSTART, late, long, schedules
from shipped import HERE
from trajectory import Bench, locked

from flexsearch.config import RunConfig, load_config
from flexsearch.diffusion.training import Training
from flexsearch.files import write_atomically
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.macs import plan_macs
from flexsearch.trial.inputs import load_inputs
from flexsearch.trial.settings import FineTune
from flexsearch.trial.shared_files import SharedFiles
from flexsearch.trial.warm_start import elastic_training, make_warm_start

MILESTONES = (0, 160, 320)
RECEIPT = "start.json"
Draw = Callable[[RunConfig, int], DensitySchedule]


@dataclass(frozen=True, kw_only=True)
class Start:
    """A warm start: updates, and which schedule each takes."""

    updates: int
    draw: Draw


def uniform(config: RunConfig, update: int) -> DensitySchedule:
    space = config.search_space
    return space.build(space.sample(random.Random(f"0:{update}"))).schedule


def sandwich(config: RunConfig, update: int) -> DensitySchedule:
    most, fewest = extremes()
    return (uniform(config, update), most, fewest)[update % 3]


@cache
def extremes() -> tuple[DensitySchedule, DensitySchedule]:
    """The schedules with the most and the fewest MACs."""
    config = load_config(HERE / "space.yaml")
    space, everything = config.search_space, schedules(config)
    by_work = sorted(everything, key=lambda one: plan_macs(space.plan(one), config.shape))
    return by_work[-1], by_work[0]


STARTS = {
    "uniform-500": Start(updates=500, draw=uniform),
    "uniform-2000": Start(updates=2000, draw=uniform),
    "sandwich-2000": Start(updates=2000, draw=sandwich),
}
"""By the name of their folder, which is the table's column `start`."""


def made(runs: Path, name: str) -> Bench | None:
    """The bench of one warm start, which is trained if it is not there; None while another process does that."""
    config, quickstart, folder = load_config(HERE / "space.yaml"), load_config(QUICKSTART), runs / name
    path = SharedFiles.of(folder, quickstart.trial_settings).warm_start
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock"), wait=False) as is_mine:
        if not is_mine:
            return None
        if not path.exists():
            begun = time.process_time()
            training = _training(config, quickstart, STARTS[name])
            make_warm_start(path, training, report=lambda _: None)
            seconds = round(time.process_time() - begun, 1)
            write_atomically(folder / RECEIPT, json.dumps({"updates": STARTS[name].updates, "seconds": seconds}))
            print(f"{name}: {seconds} core seconds", flush=True)
    return Bench(config=config, folder=folder, start=quickstart, most_updates=max(MILESTONES))


def _training(config: RunConfig, quickstart: RunConfig, start: Start) -> Training:
    settings = quickstart.warm_start
    assert isinstance(settings, FineTune)
    inputs = load_inputs(config.trial_settings)
    settings = FineTune(**{**vars(settings), "updates": start.updates})
    training = elastic_training(inputs.base, space=quickstart.search_space, data=inputs.data, settings=settings, seed=0)
    training.before_update = lambda update, _: training.model.set_schedule(start.draw(config, update))
    return training


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/density_bench"))
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS))
    parser.add_argument("--up-to", type=int, default=max(MILESTONES), help="the last milestone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.starts:
        context = made(arguments.runs, name)
        if context is not None:
            long(context, late(*(update for update in MILESTONES if update <= arguments.up_to)), seed=0)
