"""A real search that ends inside its box, and which axis owns which part of its front.

Base, warm start and trials have sizes that follow from the measured rate: the widest base that gets enough updates in
its share of the box, and as many updates as fit.
"""

import json
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from rich.console import Console as Terminal

from flexsearch.cli.front import print_front
from flexsearch.config import RunConfig, load_config
from flexsearch.files import write_atomically
from flexsearch.report.front import Front, front_of
from flexsearch.report.gain import headline
from flexsearch.report.near_front import to_confirm
from flexsearch.report.plot import plot_front
from flexsearch.report.table import front_frame
from flexsearch.schedule.candidate import Candidate
from flexsearch.study import confirm as confirmation
from flexsearch.study.events import Ended, Event
from flexsearch.study.pareto import hypervolume
from flexsearch.study.run import Console, run_search
from flexsearch.study.storage import connect, storage_url
from flexsearch.study.store import Store
from flexsearch.trial.inputs import load_inputs
from flexsearch.trial.pretrain import pretrain
from flexsearch.trial.warm_start import elastic_training
from stages.box import Box, Entry, OutOfTime, markdown_table

HERE = Path(__file__).parent
BASE_SHARE, WARM_SHARE, CONFIRM_SHARE = 0.3, 0.2, 0.12
TRAINED_S = 1.2
"""Of a trial's own fine-tune."""
HEADS, LEAST_UPDATES = (8, 6, 4, 2), 3000
SKIPPED, TIMED = 4, 8
"""Updates that are run to learn how long one takes."""
SEEDS, CONFIRMED = 3, 8

AXES: dict[str, Callable[[Candidate], bool]] = {
    "density": lambda one: not one.schedule.is_dense,
    **{
        name: lambda one, name=name: name in one.sampling.spelled(num_blocks=one.schedule.num_blocks)
        for name in ("cache", "guidance", "gain", "solver")
    },
}


def space_of(box: Box, **overrides: Any) -> RunConfig:
    """The search space in the sizes of this box, with top-level fields overridden."""
    toy = yaml.safe_load((HERE / "toy.yaml").read_text()) if box.is_toy else {}
    values = {"base.checkpoint": str(box.scratch / "base"), **toy, **_sizes(box), **overrides}
    return load_config(HERE / "space.yaml", [f"{key}={json.dumps(value)}" for key, value in values.items()])


def _sizes(box: Box, new: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What was measured, by dotted field; with what is new, which later stages find too."""
    path = box.scratch / "sizes.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if new is not None:
        write_atomically(path, json.dumps(known := {**known, **new}))
    return known


def _median_interval(times: list[float]) -> float:
    return statistics.median(later - earlier for earlier, later in pairwise(times[SKIPPED:]))


def make_base(box: Box, device: torch.device) -> str:
    """Train the base: the widest that gets `LEAST_UPDATES` in its share of the box, by the measured rate."""

    def train(config: RunConfig, updates: int, folder: str) -> tuple[list[float], list[float]]:
        times, losses = [], []
        how = replace(config.pretrain, updates=updates)  # type: ignore[type-var]
        pretrain(
            config.base,
            config.data,
            how,
            out=box.scratch / folder,
            seed=0,
            device=device,
            report=lambda step, _: (times.append(time.monotonic()), losses.append(step.loss)),
        )
        return times, losses

    begun = time.monotonic()
    for heads in () if box.is_toy else HEADS:
        config = space_of(box, **{"base.config.num_attention_heads": heads})
        times, _ = train(config, SKIPPED + TIMED + 1, f"probe{heads}")
        left_s = BASE_SHARE * box.seconds - (time.monotonic() - begun)
        updates = max(int(0.9 * left_s / _median_interval(times)), 100)
        if updates >= LEAST_UPDATES or heads == HEADS[-1]:
            _sizes(box, {"base.config.num_attention_heads": heads, "pretrain.updates": updates})
            break
    config, begun = space_of(box), time.monotonic()
    _, losses = train(config, config.pretrain.updates, "base")  # type: ignore[union-attr]
    return (
        f"base: width {config.shape.width}, {config.shape.num_blocks} blocks, {config.shape.grid.num_tokens} tokens, "
        f"{len(losses)} updates in {time.monotonic() - begun:.0f} s, loss {statistics.fmean(losses[-100:]):.4f}"
    )


def size_training(config: RunConfig, box: Box) -> RunConfig:
    """Set the updates of warm start and trials by the rate of the warm start."""
    warm_start = config.warm_start
    if box.is_toy or warm_start is None:
        return config
    inputs, times = load_inputs(config.trial_settings), []
    training = elastic_training(
        inputs.base, space=config.search_space, data=inputs.training_data, settings=warm_start, seed=0
    )
    for _, _ in zip(range(SKIPPED + TIMED + 1), training.run(), strict=False):
        times.append(time.monotonic())
    each_s = _median_interval(times)
    own = int(TRAINED_S / (each_s / warm_start.batch * config.trial.batch))
    updates = max(int(0.9 * WARM_SHARE * box.seconds / each_s), 1)
    _sizes(box, {"warm_start.updates": updates, "trial.updates": min(max(own, 20), 200)})
    return space_of(box)


class Watch(Console):
    """Ends a search or a confirmation in time: after a trial, where the next may not fit."""

    def __init__(self, box: Box, *, keep_s: float) -> None:
        self._box, self._keep_s, self._longest_s, self._last = box, keep_s, 0.0, 0.0

    def searching(self, search: Any, choice: Any) -> Callable[[Event], None]:
        self._last = time.monotonic()
        return self._watch

    def _watch(self, event: Event) -> None:
        if isinstance(event, Ended):
            self._longest_s, self._last = max(self._longest_s, time.monotonic() - self._last), time.monotonic()
            if self._box.left - self._keep_s < self._longest_s:
                raise OutOfTime


def search_and_confirm(config: RunConfig, box: Box, *, study: str, keep_s: float) -> Front:
    """Search until `keep_s` of the box are left, confirm in the rest; all complete trials go into fronts.csv."""
    run_dir, names = box.scratch / study, config.objectives.names
    with box.until(left=keep_s / 2):
        run_search(config.plan(run_dir, executor="local"), Watch(box, keep_s=keep_s))
    store = stored(config, run_dir)
    _keep(front_of(store, names), box, study)
    with box.until(left=4):
        confirmation.confirm(
            store,
            to_confirm(front_of(store, names), top=CONFIRMED),
            seeds=confirmation.fresh_seeds(0, SEEDS),
            images=4 * config.objectives.quality.images,
            run_dir=run_dir,
            begins=lambda orders: orders.watch(Watch(box, keep_s=5).searching(orders, None)),
        )
    front = front_of(store, names)
    _keep(front, box, study)
    return front


def stored(config: RunConfig, run_dir: Path) -> Store:
    """The results of a run."""
    return Store(connect(storage_url(run_dir, None)), study=config.name, seed=config.search.seed)


def _keep(front: Front, box: Box, study: str) -> None:
    """Put all complete trials of a study into fronts.csv, beside those of the other, and draw its front."""
    path, table = box.out / "fronts.csv", front_frame(front).assign(study=study)
    if path.exists():
        before = pd.read_csv(path)
        table = pd.concat([before[before["study"] != study], table])
    write_atomically(path, table.to_csv(index=False, float_format="%.6g"))
    plot_front(front, box.out / f"{study}.png")


def said_of(front: Front) -> list[str]:
    """Trials, noise, and what the front claims, measured again where it was."""
    counts, found = ", ".join(f"{num} {state}" for state, num in front.counts.items() if num), front.confirmation
    again = "nothing was measured again"
    if found is not None:
        again = (
            f"{len(found.points)} measured again with {found.shown_size} images, paired noise {found.paired_noise:.2g}"
        )
    claim, _ = headline(front.best_known, quality=front.objectives[0].name)
    return [f"trials: {counts}; hypervolume {front.hypervolume:.4g}; {again}", claim]


def printed(front: Front) -> str:
    """The tables of `flexsearch front`."""
    text = StringIO()
    print_front(front, Terminal(file=text, width=150))
    return f"```\n{text.getvalue().rstrip()}\n```"


def axes_of(front: Front) -> list[dict[str, Any]]:
    """Which axis owns which part of the front.

    A point owns the best known front from its latency to the next point's, on a logarithmic scale. What is lost without
    an axis is hypervolume, of all that the search measured.
    """
    points, best, reference = front.as_searched.points, front.best_known.best, np.array(front.reference_point)
    reach = log(best[-1].latency_ms / best[0].latency_ms) or 1.0
    owned = [(one, log(after.latency_ms / one.latency_ms) / reach) for one, after in pairwise(best)]
    rows = []
    for name, uses in AXES.items():
        without = [one.objectives for one in points if not uses(one.record.candidate)]
        rows.append(
            {
                "axis": name,
                "trials": len(points) - len(without),
                "points of the front": sum(uses(one.record.candidate) for one in best),
                "share of its latencies": sum(share for one, share in owned if uses(one.record.candidate)),
                "hypervolume lost without": 1 - hypervolume(np.array(without), reference=reference) / front.hypervolume,
            }
        )
    return rows


def run(box: Box) -> Entry:
    """Train a base, search around it, confirm, and say what each axis brought."""
    for name in ("base", "search", "free"):  # of an earlier run into the same folder
        shutil.rmtree(box.scratch / name, ignore_errors=True)
    (box.scratch / "sizes.json").unlink(missing_ok=True)
    base = make_base(box, torch.device(box.device))
    config = size_training(space_of(box), box)
    front = search_and_confirm(config, box, study="search", keep_s=CONFIRM_SHARE * box.seconds)
    costs = ", ".join(f"{cost.what} {cost.seconds:.0f} s" for cost in front.costs if ":" not in cost.what)
    said = [base, f"a trial has {config.trial.updates} updates of its own; {costs}", *said_of(front)]
    axes = axes_of(front)
    lines = [", ".join(f"{name} {value:.3g}" for name, value in list(row.items())[1:]) for row in axes]
    return Entry(
        lines=[*said, *(f"{row['axis']}: {line}" for row, line in zip(axes, lines, strict=True))],
        log="\n\n".join(["\n".join(f"- {one}" for one in said), markdown_table(axes), printed(front)]),
    )
