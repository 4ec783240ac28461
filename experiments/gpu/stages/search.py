"""A real search that ends inside its box, and which axis owns which part of its front.

The base, its warm start and the trials take what they may of the box, in sizes that follow from the measured rate: the
widest base that gets enough updates, and as many updates as fit.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from stages.box import Box, Entry, markdown_table

from flexsearch.config import RunConfig, load_config
from flexsearch.files import write_atomically
from flexsearch.report.front import Front, front_of
from flexsearch.report.gain import headline
from flexsearch.report.near_front import to_confirm
from flexsearch.report.plot import plot_front
from flexsearch.report.points import FrontPoint
from flexsearch.report.table import front_frame
from flexsearch.study import confirm as confirmation
from flexsearch.study.events import Ended, Event
from flexsearch.study.pareto import hypervolume, non_dominated
from flexsearch.study.run import Console, RunPlan, run_search
from flexsearch.study.storage import connect, storage_url
from flexsearch.study.store import Store
from flexsearch.trial.inputs import load_inputs
from flexsearch.trial.pretrain import pretrain
from flexsearch.trial.warm_start import elastic_training

HERE = Path(__file__).parent
BASE_SHARE, WARM_SHARE, CONFIRM_SHARE = 0.3, 0.2, 0.1
TRAINED_S = 1.2
"""Of a trial's own fine-tune."""
HEADS = (8, 6, 4, 2)
LEAST_UPDATES = 3000
SKIPPED, TIMED = 4, 8
SEEDS, CONFIRMED = 3, 8

AXES: dict[str, Callable[[Any], bool]] = {
    "density": lambda one: not one.schedule.is_dense,
    "reuse": lambda one: "cache" in one.sampling.to_dict(),
    "guidance rows": lambda one: "guidance" in one.sampling.to_dict(),
    "gain": lambda one: "gain" in one.sampling.to_dict(),
    "second-order solver": lambda one: one.sampling.solver != "base",
}


class BoxSpent(Exception):
    """No further trial begins."""


def space_of(box: Box, **overrides: Any) -> RunConfig:
    """The search space in the sizes of this box; `overrides` by dotted key, `__` for a dot."""
    toy = yaml.safe_load((HERE / "toy.yaml").read_text()) if box.is_toy else {}
    kept = box.scratch / "sizes.json"
    sizes = json.loads(kept.read_text()) if kept.exists() else {}
    changed = {key.replace("__", "."): value for key, value in overrides.items()}
    values = {"base.checkpoint": str(box.scratch / "base"), **toy, **sizes, **changed}
    return load_config(HERE / "space.yaml", [f"{key}={json.dumps(value)}" for key, value in values.items()])


def seconds_per_update(ticks: Iterator[object]) -> float:
    """The median of some updates, after some that are not timed."""
    times = []
    for _, _ in zip(range(SKIPPED + TIMED + 1), ticks, strict=False):
        times.append(time.perf_counter())
    return statistics.median(later - earlier for earlier, later in pairwise(times[SKIPPED:]))


def make_base(box: Box, device: torch.device) -> tuple[RunConfig, str]:
    """Train the base: the widest of `HEADS` that gets `LEAST_UPDATES` in its share of the box."""
    share_s, begun = BASE_SHARE * box.seconds, time.monotonic()
    config = space_of(box)
    assert config.pretrain is not None
    assert config.base.config is not None
    each, updates = 0.0, config.pretrain.updates
    for heads in () if box.is_toy else HEADS:
        tried = space_of(box, base__config__num_attention_heads=heads)
        each = _probe(tried, box, device)
        updates = int(0.9 * (share_s - (time.monotonic() - begun)) / each)
        if updates >= LEAST_UPDATES or heads == HEADS[-1]:
            _keep_sizes(box, {"base.config.num_attention_heads": heads, "pretrain.updates": max(updates, 1)})
            break
    config = space_of(box)
    assert config.pretrain is not None
    begun, losses = time.monotonic(), [0.0]

    def report(step: Any, _: object) -> None:
        losses[0] += (step.loss - losses[0]) / min(step.update, 100)

    pretrain(
        config.base, config.data, config.pretrain, out=box.scratch / "base", seed=0, device=device, report=report
    )
    width = config.shape.width
    return config, (
        f"base: width {width}, {config.shape.num_blocks} blocks, {config.shape.grid.num_tokens} tokens; "
        f"{config.pretrain.updates} updates of {config.pretrain.batch} in {time.monotonic() - begun:.0f} s, loss {losses[0]:.4f}"
    )


def _probe(config: RunConfig, box: Box, device: torch.device) -> float:
    """Seconds per update of a base."""
    assert config.pretrain is not None
    times: list[float] = []
    pretrain(
        config.base,
        config.data,
        replace(config.pretrain, updates=SKIPPED + TIMED + 1),
        out=box.scratch / "probe",
        seed=0,
        device=device,
        report=lambda *_: times.append(time.perf_counter()),
    )
    return statistics.median(later - earlier for earlier, later in pairwise(times[SKIPPED:]))


def _keep_sizes(box: Box, sizes: Mapping[str, Any]) -> None:
    path = box.scratch / "sizes.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    write_atomically(path, json.dumps({**known, **sizes}))


def size_training(config: RunConfig, box: Box) -> RunConfig:
    """Set the updates of warm start and trials by the rate of the warm start."""
    if box.is_toy:
        return config
    assert config.warm_start is not None
    inputs = load_inputs(config.trial_settings)
    training = elastic_training(
        inputs.base, space=config.search_space, data=inputs.training_data, settings=config.warm_start, seed=0
    )
    each = seconds_per_update(training.run())
    per_image = each / config.warm_start.batch
    _keep_sizes(
        box,
        {
            "warm_start.updates": max(int(0.9 * WARM_SHARE * box.seconds / each), 1),
            "trial.updates": min(max(int(TRAINED_S / (per_image * config.trial.batch)), 20), 200),
        },
    )
    return space_of(box)


class Watch(Console):
    """Ends the search before the box is spent, after the trial that runs."""

    def __init__(self, box: Box, *, keep_s: float) -> None:
        self.box, self.keep_s, self.longest = box, keep_s, 0.0
        self._last = time.monotonic()

    def searching(self, search: Any, choice: Any) -> Callable[[Event], None]:
        self._last = time.monotonic()
        return self.watch

    def watch(self, event: Event) -> None:
        if isinstance(event, Ended):
            took, self._last = time.monotonic() - self._last, time.monotonic()
            self.longest = max(self.longest, took)
            if self.box.left - self.keep_s < self.longest:
                raise BoxSpent


def run_until(config: RunConfig, run_dir: Path, watch: Watch) -> Store:
    """Search until the box is spent or the trials are done."""
    plan = RunPlan(
        name=config.name,
        settings=config.trial_settings,
        search=config.search,
        resources=config.resources,
        config=config.to_dict(),
        save=config.save,
        run_dir=run_dir,
        executor="local",
    )
    with _spent(), watch.box.until(left=watch.keep_s / 2):
        return run_search(plan, watch)
    return Store(connect(storage_url(run_dir, None)), study=config.name, seed=config.search.seed)


@contextmanager
def _spent() -> Iterator[None]:
    try:
        yield
    except BoxSpent:
        pass


def confirm(store: Store, config: RunConfig, run_dir: Path, box: Box) -> None:
    """Measure the front again on fresh seeds, as far as the box goes."""
    records = to_confirm(front_of(store, config.objectives.names), top=CONFIRMED)
    images = 4 * config.objectives.quality.images if not box.is_toy else 64
    watch = Watch(box, keep_s=5)
    begins = partial(_watched, watch)
    with _spent(), box.until(left=3):
        confirmation.confirm(
            store, records, seeds=confirmation.fresh_seeds(0, SEEDS), images=images, run_dir=run_dir, begins=begins
        )


def _watched(watch: Watch, orders: Any) -> None:
    orders.watch(watch.searching(None, None))


def axes_of(front: Front) -> list[dict[str, Any]]:
    """Which axis owns which part of the front: of its best known points, and of what the search measured.

    A point owns the front from its latency to the next point's, on a logarithmic scale; the slowest owns nothing but
    its place. What is lost without an axis is hypervolume, of all that the search measured.
    """
    points, best = front.as_searched.points, front.best_known.best
    reach = log(best[-1].latency_ms / best[0].latency_ms) if len(best) > 1 else 0.0
    owned = {one.record.number: log(after.latency_ms / one.latency_ms) / reach for one, after in pairwise(best)} if reach else {}
    rows = []
    for name, uses in AXES.items():
        using = [one for one in points if uses(one.record.candidate)]
        without = [one for one in points if not uses(one.record.candidate)]
        rows.append(
            {
                "axis": name,
                "trials": len(using),
                "on front": sum(uses(one.record.candidate) for one in best),
                "of": len(best),
                "share of latencies": sum(owned.get(one.record.number, 0.0) for one in best if uses(one.record.candidate)),
                "hypervolume lost without": 1 - _volume(without, front) / front.hypervolume,
            }
        )
    return rows


def _volume(points: Sequence[FrontPoint], front: Front) -> float:
    import numpy as np

    table = np.array([one.objectives for one in points]).reshape(-1, 2)
    return hypervolume(table, reference=np.array(front.reference_point)) if len(table) else 0.0


def front_rows(front: Front) -> str:
    """The best known points, fastest first, as a table."""
    best = front.best_known.best
    confirmed = {} if front.confirmation is None else front.confirmation.points
    rows = []
    for one in best:
        again = confirmed.get(one.record.number)
        rows.append(
            {
                "trial": one.record.number,
                "baseline": one.record.baseline,
                "candidate": str(one.record.candidate),
                "ms/image": one.latency_ms,
                front.objectives[0].name: one.quality if again is None else str(again.quality),
                "on the front": "" if again is None else again.verdict,
            }
        )
    return markdown_table(rows)


def keep_front(front: Front, box: Box, study: str) -> None:
    """Put all complete trials of a study into fronts.csv, beside those of the other."""
    path = box.out / "fronts.csv"
    table = front_frame(front).assign(study=study)
    if path.exists():
        before = pd.read_csv(path)
        table = pd.concat([before[before["study"] != study], table])
    write_atomically(path, table.to_csv(index=False, float_format="%.6g"))


def said_of(front: Front) -> list[str]:
    """Trials, what the front claims, and its noise."""
    counts = ", ".join(f"{num} {state}" for state, num in front.counts.items() if num)
    claim, _ = headline(front.best_known, quality=front.objectives[0].name)
    found = front.confirmation
    again = (
        "not confirmed"
        if found is None
        else f"{len(found.points)} measured again with {found.shown_size} images: paired noise {found.paired_noise:.2g}, of latency {found.latency_noise:.1%}"
    )
    return [f"trials: {counts}; hypervolume {front.hypervolume:.4g}; {again}", claim]


def run(box: Box) -> Entry:
    """Train a base, search around it, confirm, and say what each axis brought."""
    device = torch.device(box.device)
    (box.scratch / "sizes.json").unlink(missing_ok=True)
    config, base = make_base(box, device)
    config = size_training(config, box)
    run_dir = box.scratch / "search"
    store = run_until(config, run_dir, Watch(box, keep_s=CONFIRM_SHARE * box.seconds))
    keep_front(front_of(store, config.objectives.names), box, "search")
    confirm(store, config, run_dir, box)
    front = front_of(store, config.objectives.names)
    keep_front(front, box, "search")
    plot_front(front, box.out / "search.png")
    costs = ", ".join(f"{cost.what} {cost.seconds:.0f} s" for cost in front.costs if ":" not in cost.what)
    said = [base, f"updates: warm start {config.warm_start.updates if config.warm_start else 0}, trial {config.trial.updates}; {costs}"]
    said += said_of(front)
    axes = axes_of(front)
    lines = [
        f"{row['axis']}: on {row['on front']} of {row['of']} points, {row['share of latencies']:.0%} of latencies, "
        f"{row['hypervolume lost without']:.1%} of hypervolume lost without it"
        for row in axes
    ]
    return Entry(
        lines=[*said, *lines], log="\n\n".join(["\n".join(f"- {one}" for one in said), markdown_table(axes), front_rows(front)])
    )
