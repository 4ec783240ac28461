"""What keeps a trained schedule behind the dense base: few updates, its times, its loss, or its teacher?

    OMP_NUM_THREADS=1 uv run python experiments/taught_by_samples/run.py      # half an hour of one CPU core
    OMP_NUM_THREADS=1 uv run python experiments/taught_by_samples/run.py --by "samples, two steps"   # 3 minutes

Three schedules of the quickstart, from its warm start, and the dense base itself. Taught by data as in a trial, the
dense base's output beside them (60 updates), and by 2,048 samples of the dense base through the sampler in two and
three steps (60 updates and 300), or in one of these alone (60 and 600). The sparsest one also by data ten times as
long, at the times alone that its sampler visits, under other weights of the loss, and with the dense base's last tokens
as a further target. Each is then drawn in two and three steps, of which the first calls no model, under three gains;
500 images, seed 0, the quickstart's distance; and under the best of these gains 2,000 images of noise that chose
nothing (`fresh`). Nothing is timed: other work on the machine does not matter. Adds to `distances.csv` what it lacks,
and prints the best gains' distances.

With `--space` and `--schedules`, the same of another space (`experiments/second_base`), by data and by samples.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).parents[1]))
from fine_tunes import QUICKSTART, averaged, by_data, drawn_features, opened, quality_of, schedules_of, started

from flexsearch.diffusion.batches import Batch, BatchStream
from flexsearch.diffusion.process import MIN_SNR
from flexsearch.diffusion.training import Training
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule import Candidate, DensitySchedule, Sampling
from flexsearch.schedule.gain import NO_GAIN
from flexsearch.trial.context import TrialContext
from flexsearch.trial.teacher_samples import sample_training

HERE = Path(__file__).parent
SCHEDULES = ("PPPMssRMssRD @5,3", "PPPMsRDMsRDD @5,3", "PPPMsRDMRDDD @5,3")
DATA, SAMPLES = "data", "samples"
TWO_STEPS, THREE_STEPS = "samples, two steps", "samples, three steps"
VISITED, FEATURES = "data, visited times", "data, last tokens"
WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "data, Min-SNR": lambda time: torch.minimum((1 - time) ** 2, MIN_SNR * time**2),
    "data, clean data predicted": lambda time: time**2,
}
"""Weights of the squared error of a velocity, by time: Min-SNR's; and those that make it one of the clean data."""
Arm = tuple[str, str, int]
"""Schedule, what teaches, updates."""
ARMS: tuple[Arm, ...] = (
    ("dense", "nothing", 0),
    *((one, by, 60) for one in SCHEDULES for by in (DATA, SAMPLES, TWO_STEPS, THREE_STEPS)),
    *(("dense", by, 60) for by in (SAMPLES, TWO_STEPS)),
    *((one, SAMPLES, 300) for one in ("dense", *SCHEDULES)),
    *((one, by, 600) for one in ("dense", SCHEDULES[0]) for by in (TWO_STEPS, THREE_STEPS)),
    *((SCHEDULES[0], by, 60) for by in (VISITED, FEATURES, *WEIGHTS)),
    (SCHEDULES[0], DATA, 600),
)
STEPS, GAINS = (2, 3), (1.0, 0.9, 0.75)
FRESH_SEED = 5
KEYS = ["schedule", "taught_by", "updates"]
SAMPLED_BY = {"sampler_steps": 5, "solver": "ab2", "start": "gaussian", "gain": {"stream": 0.8, "at": 4}}


class Visited:
    """Batches of data at the times that the samplers visit, in turn."""

    def __init__(self, stream: BatchStream, times: list[float]) -> None:
        self.batch, self._stream, self._times = stream.batch, stream, times

    def at(self, update: int, rows: slice = slice(None)) -> Batch:
        batch = self._stream.at(update, rows)
        return replace(batch, time=torch.full_like(batch.time, self._times[update % len(self._times)]))


class Weighed(Training):
    """The loss of a trial, its data and its teacher under weights by time."""

    weight: Callable[[Tensor], Tensor]

    def loss(self, update: int, batch: Batch) -> Tensor:
        noisy, model_time = (
            self.process.noisy(batch.clean, batch.noise, batch.time),
            self.process.model_time(batch.time),
        )
        output = self.model(noisy, model_time, **batch.condition).sample
        assert self.teacher is not None
        targets = batch.noise - batch.clean, self.teacher(update, batch, noisy, model_time)
        errors = sum(((output - target) ** 2).flatten(1).mean(1) for target in targets)
        return (self.weight(batch.time) * errors).mean()


def weighing(weight: Callable[[Tensor], Tensor]) -> type[Training]:
    return type("Reweighed", (Weighed,), {"weight": staticmethod(weight)})


class WithFeatures(Training):
    """The loss of a trial, and how far the tokens before the head are from the dense base's, squared, over theirs."""

    base: FlexDiT

    def loss(self, update: int, batch: Batch) -> Tensor:
        seen: list[Tensor] = []
        heads: list[Any] = [model.base for model in (self.model, self.base)]
        hooks = [one.norm_out.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) for one in heads]
        loss = super().loss(update, batch)
        for hook in hooks:
            hook.remove()
        own, target = seen  # the student is called first
        return loss + ((own - target) ** 2).mean() / (target**2).mean()


def of_base(base: FlexDiT) -> type[Training]:
    return type("OfBase", (WithFeatures,), {"base": base})


def taught_in(steps: tuple[int, ...], images: int) -> str:
    """The change of the settings by which schedules are taught in so many steps, in turn."""
    taught = {"images": images, "steps": list(steps), "sampling": SAMPLED_BY}
    return f"teacher_samples={taught}"


def sampling(steps: int, gain: float = 1.0) -> Sampling:
    plain = Sampling(steps=steps, solver="ab2", start="gaussian")
    return plain if gain == 1 else replace(plain, gain=replace(NO_GAIN, stream=gain, at=4))


def trained(context: TrialContext, schedule: DensitySchedule, *, by: str, updates: int) -> Any:
    """Averaged weights after a fine-tune; those of the base or of the warm start if there are no updates."""
    model = started(context, schedule)
    if not updates:
        return model
    rate = 2e-4 if schedule.is_dense else context.settings.trial.learning_rate
    settings = replace(context.settings.trial, updates=updates, learning_rate=rate)
    longer = replace(context, settings=replace(context.settings, trial=settings))
    if by.startswith(SAMPLES):
        return averaged(sample_training(model, longer))
    stream: Any = None
    kind = Training
    if by in WEIGHTS:
        kind = weighing(WEIGHTS[by])
    if by == FEATURES:
        kind = of_base(context.inputs.base.model)
    if by == VISITED:
        plans = [context.space.plan(Candidate(schedule=schedule, sampling=sampling(one))) for one in STEPS]
        times = [step.time for plan in plans for step in plan.steps if step.graph.calls_model]
        stream = Visited(longer.stream(0), times)
    return averaged(by_data(longer, model, settings, stream=stream, kind=kind))


def measured(context: TrialContext, model: Any, schedule: DensitySchedule, *, fresh: int) -> Iterator[dict[str, Any]]:
    """Rows of every sampling; the best gain is drawn once more, of `fresh` images under another seed."""
    for steps in STEPS:
        rows = []
        for gain in GAINS:
            candidate = Candidate(schedule=schedule, sampling=sampling(steps, gain))
            distance = quality_of(context, drawn_features(context, model, candidate)).value
            rows.append(
                {"steps": steps, "gain": gain, "macs": context.space.plan(candidate).macs, "distance": distance}
            )
        best = min(rows, key=lambda row: row["distance"])
        candidate = Candidate(schedule=schedule, sampling=sampling(steps, best["gain"]))
        features = drawn_features(context, model, candidate, num=fresh, seed=FRESH_SEED)
        best["fresh"] = quality_of(context, features).value
        yield from rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/taught_by_samples"))
    parser.add_argument("--out", type=Path, default=HERE / "distances.csv")
    parser.add_argument("--by", help="what teaches; everything otherwise")
    parser.add_argument("--space", type=Path, default=QUICKSTART)
    parser.add_argument("--schedules", nargs="+", help="of the space, as they are printed")
    parser.add_argument("--images", type=int, default=2048, help="of the samples that teach")
    parser.add_argument("--fresh", type=int, default=2000, help="images of the best gain under a seed of its own")
    arguments = parser.parse_args()
    arms = ARMS
    if arguments.schedules:
        arms = (("dense", "nothing", 0), *((one, by, 60) for by in (SAMPLES, DATA) for one in arguments.schedules))
    known = pd.read_csv(arguments.out) if arguments.out.exists() else pd.DataFrame(columns=KEYS)
    rows = known.to_dict("records")
    contexts = {
        name: opened(arguments.runs / name, taught_in(steps, arguments.images), space=arguments.space)
        for name, steps in ((SAMPLES, STEPS), (TWO_STEPS, STEPS[:1]), (THREE_STEPS, STEPS[1:]))
        if name == SAMPLES or any(by == name for _, by, _ in arms)
    }
    dense = DensitySchedule.all_dense(contexts[SAMPLES].space.num_blocks)
    found = {"dense": dense, **schedules_of(contexts[SAMPLES], {one for one, _, _ in arms} - {"dense"})}
    for name, by, updates in arms:
        is_known = any((row["schedule"], row["taught_by"], row["updates"]) == (name, by, updates) for row in rows)
        if is_known or arguments.by not in (None, by):
            continue
        context = contexts.get(by, contexts[SAMPLES])
        model = trained(context, found[name], by=by, updates=updates)
        for row in measured(context, model, found[name], fresh=arguments.fresh):
            rows.append({"schedule": name, "taught_by": by, "updates": updates, **row})
        pd.DataFrame(rows).to_csv(arguments.out, index=False, float_format="%.6g")
        print(name, by, updates, [round(row["distance"], 2) for row in rows[-len(STEPS) * len(GAINS) :]], flush=True)
    table = pd.DataFrame(rows)
    best = table.dropna(subset="fresh").pivot_table(["distance", "fresh"], KEYS, "steps", sort=False)
    print(best.round(2).to_string())


if __name__ == "__main__":
    main()
