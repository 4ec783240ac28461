"""What keeps a trained schedule behind the dense base: few updates, the times that it is trained at, or its teacher?

    OMP_NUM_THREADS=1 uv run python experiments/taught_by_samples/run.py      # about 40 minutes of one CPU core
    OMP_NUM_THREADS=1 uv run python experiments/taught_by_samples/run.py --by "samples, two steps"   # 3 minutes

Three schedules of the quickstart, from its warm start, and the dense base itself. Taught by data as in a trial (60
updates; the first also ten times as many, and at the times alone that its sampler visits), and by 2,048 samples of the
dense base through the sampler in two and three steps (60 updates and 300), or in two alone. Each is then drawn in two
and three steps, of which the first calls no model, under three gains; 500 images, seed 0, the quickstart's distance.
Nothing is timed: other work on the machine does not matter. Adds to `distances.csv` what it lacks, and prints the best
gain's distances.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

sys.path.append(str(Path(__file__).parents[1]))
from fine_tunes import averaged, by_data, drawn_features, opened, quality_of, schedules_of, started

from flexsearch.diffusion.batches import Batch, BatchStream
from flexsearch.schedule import Candidate, DensitySchedule, Sampling
from flexsearch.schedule.gain import NO_GAIN
from flexsearch.trial.context import TrialContext
from flexsearch.trial.teacher_samples import sample_training

HERE = Path(__file__).parent
SCHEDULES = ("PPPMssRMssRD @5,3", "PPPMsRDMsRDD @5,3", "PPPMsRDMRDDD @5,3")
ARMS = (
    ("dense", "nothing", 0),
    *((one, by, 60) for one in SCHEDULES for by in ("data", "samples", "samples, two steps")),
    *((one, "samples", 300) for one in ("dense", *SCHEDULES)),
    (SCHEDULES[0], "data, visited times", 60),
    (SCHEDULES[0], "data", 600),
)
STEPS, GAINS = (2, 3), (1.0, 0.9, 0.75)
KEYS = ["schedule", "taught_by", "updates"]
TAUGHT = {
    "images": 2048,
    "steps": list(STEPS),
    "sampling": {"sampler_steps": 5, "solver": "ab2", "start": "gaussian", "gain": {"stream": 0.8, "at": 4}},
}


class Visited:
    """Batches of data at the times that the samplers visit, in turn."""

    def __init__(self, stream: BatchStream, times: list[float]) -> None:
        self.batch, self._stream, self._times = stream.batch, stream, times

    def at(self, update: int, rows: slice = slice(None)) -> Batch:
        batch = self._stream.at(update, rows)
        return replace(batch, time=torch.full_like(batch.time, self._times[update % len(self._times)]))


def taught_in(steps: tuple[int, ...]) -> str:
    """The change of the settings by which schedules are taught in so many steps, in turn."""
    return f"teacher_samples={TAUGHT | {'steps': list(steps)}}"


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
    if by.startswith("samples"):
        return averaged(sample_training(model, longer))
    stream: Any = None
    if by == "data, visited times":
        plans = [context.space.plan(Candidate(schedule=schedule, sampling=sampling(one))) for one in STEPS]
        times = [step.time for plan in plans for step in plan.steps if step.graph.calls_model]
        stream = Visited(longer.stream(0), times)
    return averaged(by_data(longer, model, settings, stream=stream))


def measured(context: TrialContext, model: Any, schedule: DensitySchedule) -> Iterator[dict[str, Any]]:
    for steps in STEPS:
        for gain in GAINS:
            candidate = Candidate(schedule=schedule, sampling=sampling(steps, gain))
            distance = quality_of(context, drawn_features(context, model, candidate)).value
            yield {"steps": steps, "gain": gain, "macs": context.space.plan(candidate).macs, "distance": distance}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/taught_by_samples"))
    parser.add_argument("--out", type=Path, default=HERE / "distances.csv")
    parser.add_argument("--by", help="what teaches; everything otherwise")
    arguments = parser.parse_args()
    known = pd.read_csv(arguments.out) if arguments.out.exists() else pd.DataFrame(columns=KEYS)
    rows = known.to_dict("records")
    contexts = {
        False: opened(arguments.runs, taught_in(STEPS)),
        True: opened(arguments.runs / "two_steps", taught_in(STEPS[:1])),
    }
    dense = DensitySchedule.all_dense(contexts[False].space.num_blocks)
    found = {"dense": dense, **schedules_of(contexts[False], SCHEDULES)}
    for name, by, updates in ARMS:
        is_known = any((row["schedule"], row["taught_by"], row["updates"]) == (name, by, updates) for row in rows)
        if is_known or arguments.by not in (None, by):
            continue
        context = contexts["two steps" in by]
        model = trained(context, found[name], by=by, updates=updates)
        for row in measured(context, model, found[name]):
            rows.append({"schedule": name, "taught_by": by, "updates": updates, **row})
        pd.DataFrame(rows).to_csv(arguments.out, index=False, float_format="%.6g")
        print(name, by, updates, [round(row["distance"], 2) for row in rows[-len(STEPS) * len(GAINS) :]], flush=True)
    table = pd.DataFrame(rows)
    best = table.pivot_table("distance", KEYS, "steps", "min", sort=False)
    print(best.round(2).to_string())


if __name__ == "__main__":
    main()
