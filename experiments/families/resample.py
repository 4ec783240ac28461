"""What resampling otherwise is worth at quickstart size: average, bilinear or learned, from one warm start.

    OMP_NUM_THREADS=1 uv run python experiments/families/resample.py      # about 10 minutes of one CPU core

Two schedules of the quickstart, from the warm start that ships, whose merges serve all three ways. Each is fine-tuned
as a trial of the quickstart is (60 updates on data; two seeds of the first), and drawn with one and two model calls
(two and three steps, of which the first calls no model) under two gains; 500 images of seed 0, the quickstart's
distance. Without updates, bilinear is another operator at once, and learned is the average to the bit, which is
checked. In 60 updates tau moves by a hundredth at most, so it also starts at 0.5. Nothing is timed. Writes
`resample.csv`, and prints the better gain's distances.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import torch

sys.path.append(str(Path(__file__).parents[1]))
from fine_tunes import averaged, by_data, drawn_features, opened, quality_of, schedules_of, started

from flexsearch.models.resample import Resampler
from flexsearch.schedule import Candidate, DensitySchedule, Sampling, Sdtm
from flexsearch.schedule.families.sdtm import Resample
from flexsearch.schedule.gain import NO_GAIN
from flexsearch.trial.context import TrialContext

HERE = Path(__file__).parent
SCHEDULES = ("PPPMssRMssRD @5,3", "PPPPMsssssRD @3")
KINDS: tuple[Resample, ...] = get_args(Resample)
ARMS = [
    *((SCHEDULES[0], kind, 0, 0, 0.0) for kind in KINDS),
    *((SCHEDULES[0], kind, 60, seed, 0.0) for seed in (0, 1) for kind in KINDS),
    *((SCHEDULES[1], kind, 60, 0, 0.0) for kind in KINDS),
    *((SCHEDULES[0], "learned", updates, 0, 0.5) for updates in (0, 60)),
]
"""Schedule, resampling, updates, seed, and the tau that learned resampling starts from."""
CALLS, GAINS = (1, 2), (1.0, 0.75)


def resampled(schedule: DensitySchedule, kind: Resample) -> DensitySchedule:
    """The schedule with every module resampled in one way."""
    segments = (replace(one, resample=kind) if isinstance(one, Sdtm) else one for one in schedule.segments)
    return replace(schedule, segments=tuple(segments))


def trained(context: TrialContext, schedule: DensitySchedule, *, updates: int, seed: int, tau: float) -> Any:
    """Averaged weights after a fine-tune, as a trial's; those of the warm start if there are no updates."""
    model = started(context, schedule)
    for one in model.modules():
        if isinstance(one, Resampler):
            torch.nn.init.constant_(one.tau, tau)
    return averaged(by_data(context, model, context.settings.trial, seed=seed)) if updates else model


def measured(context: TrialContext, model: Any, schedule: DensitySchedule) -> Iterator[dict[str, Any]]:
    for calls in CALLS:
        for gain in GAINS:
            sampling = Sampling(steps=calls + 1, solver="ab2", start="gaussian")
            if gain != 1:
                sampling = replace(sampling, gain=replace(NO_GAIN, stream=gain, at=4))
            candidate = Candidate(schedule=schedule, sampling=sampling)
            distance = quality_of(context, drawn_features(context, model, candidate)).value
            yield {"calls": calls, "gain": gain, "macs": context.space.plan(candidate).macs, "distance": distance}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/resample"))
    parser.add_argument("--out", type=Path, default=HERE / "resample.csv")
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    context, rows = opened(arguments.runs), []
    found = schedules_of(context, SCHEDULES)
    for name, kind, updates, seed, tau in ARMS:
        schedule = resampled(found[name], kind)
        model = trained(context, schedule, updates=updates, seed=seed, tau=tau)
        taus = [one.tau.detach().abs().item() for one in model.modules() if isinstance(one, Resampler)]
        for row in measured(context, model, schedule):
            told = {"schedule": name, "resample": kind, "updates": updates, "seed": seed, "tau": tau}
            rows.append({**told, **row, "largest_tau": max(taus, default=0.0)})
        pd.DataFrame(rows).to_csv(arguments.out, index=False, float_format="%.6g")
        print(name, kind, updates, seed, [round(row["distance"], 2) for row in rows[-4:]], taus, flush=True)
    table = pd.DataFrame(rows)
    start = table[(table.updates == 0) & (table.tau == 0)].pivot_table("distance", ["calls", "gain"], "resample")
    assert (start["average"] == start["learned"]).all(), "learned starts as the average"
    keys = ["schedule", "updates", "seed", "tau", "calls"]
    print(table.pivot_table("distance", keys, "resample", "min", sort=False).round(2).to_string())


if __name__ == "__main__":
    main()
