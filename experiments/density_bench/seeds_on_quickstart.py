"""Asks whether the schedules that a gradient finds on the quickstart's space are better than others, once fine-tuned.

    uv run python experiments/density_bench/seeds_on_quickstart.py

Learns on the quickstart's space, then fine-tunes these schedules, and others drawn by chance, as trials do, and draws
500 images of each in three steps (`ab2`, gain 0.85 before block 4). Writes `seeds_on_quickstart.csv`: MACs of an image
as a share of the dense base's, squared distance to its output on the warm start (what the gradient goes by), distance
after the fine-tune. About 8 minutes of one core.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch
from scipy import stats
from shipped import HERE

sys.path.append(str(HERE.parent))
from fine_tunes import averaged, by_data, drawn_features, opened, quality_of, started

from flexsearch.schedule import Candidate, DensitySchedule, Gain, Sampling
from flexsearch.study.pareto import is_non_dominated
from flexsearch.trial.gradient_seeds import WarmLoss, load_seeds, make_seeds

SAMPLING = Sampling(steps=3, solver="ab2", gain=Gain(stream=0.85, at=4))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/density_bench"))
    parser.add_argument("--out", type=Path, default=HERE / "seeds_on_quickstart.csv")
    parser.add_argument("--others", type=int, default=9, help="schedules drawn by chance")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    context = opened(arguments.runs / "quickstart")
    space, losses, generator = context.space, WarmLoss(context, seed=0), random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        make_seeds(Path(folder) / "seeds.json", context, seed=0, report=lambda *_: None)
        chosen = load_seeds(Path(folder) / "seeds.json")
    learned = [space.build({**space.sample(generator), **one}).schedule for one in chosen]
    others = dict.fromkeys(learned)
    while len(others) < len(learned) + arguments.others:
        others.setdefault(space.build({**space.sample(generator), "dense": False}).schedule)
    dense = space.plan(Candidate(schedule=DensitySchedule.all_dense(space.num_blocks), sampling=SAMPLING))
    rows = []
    for schedule in others:
        candidate = Candidate(schedule=schedule, sampling=SAMPLING)
        model = averaged(by_data(context, started(context, schedule), context.settings.trial))
        rows.append(
            {
                "from": "gradient" if schedule in learned else "chance",
                "schedule": str(schedule),
                "macs_ratio": space.plan(candidate).macs / dense.macs,
                "warm_loss": losses.of(schedule),
                "distance": quality_of(context, drawn_features(context, model, candidate)).value,
            }
        )
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    table["on_front"] = is_non_dominated(table[["macs_ratio", "distance"]].to_numpy())
    table.to_csv(arguments.out, index=False, float_format="%.5g")
    print(table.groupby("from")["on_front"].agg(["sum", "size"]))
    print(f"Kendall's tau of warm loss and distance: {stats.kendalltau(table['warm_loss'], table['distance'])[0]:.2f}")
