"""Whether planned masks are good: their cost against the paired distance of samples, over random masks of one budget.

    uv run python experiments/planned_masks/run.py

The quickstart's dense base under `ab2`, first block and all others reused (first 0), order 1. Masks are planned on 32
images of one noise and judged on 200 of another, by the distance of features to the samples of the run that reuses
nothing. Beside random masks stand evenly spaced ones, FORA's (arXiv 2407.01425: the outputs of modules, order 0,
evenly spaced), and what a local search makes of the planned one: full steps move one by one to where 64 images of a
third noise are nearest, until no move helps. Writes `masks.csv` beside this file; some minutes of a CPU.
"""

import csv
import math
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import torch
from scipy.stats import kendalltau
from torch import Tensor

from flexsearch.config import load_config
from flexsearch.data.images import to_uint8
from flexsearch.diffusion.calibration import reuse_costs
from flexsearch.diffusion.sampling import generate
from flexsearch.latency.design import dense_plan
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.paired_features import paired_distance
from flexsearch.schedule import Cache, Plan, Sampling
from flexsearch.schedule.masks import mask_cost, planned_masks
from flexsearch.trial.inputs import load_inputs

HERE = Path(__file__).parent
BUDGETS = ((10, 5), (10, 4), (7, 4), (6, 3))
"""Steps and full steps."""
RANDOM_MASKS, IMAGES, JUDGED_SEED = 50, 200, 7
MOVED_IMAGES, MOVED_SEED = 64, 11


def moved(mask: str, distance: Callable[[str], float]) -> str:
    """Move full steps of a mask, but for the first, one by one to where the distance is least, until no move helps."""
    best = distance(mask)
    while True:
        full = [place for place, letter in enumerate(mask) if letter == "F" and place]
        partial = [place for place, letter in enumerate(mask) if letter == "p"]
        moves = [
            "".join("p" if at == one else "F" if at == other else letter for at, letter in enumerate(mask))
            for one in full
            for other in partial
        ]
        found, nearest = min(((distance(one), one) for one in moves), default=(math.inf, mask))
        if found >= best:
            return mask
        best, mask = found, nearest


def main() -> None:
    settings = load_config(HERE.parents[1] / "search_spaces" / "quickstart.yaml").trial_settings
    inputs, target = load_inputs(settings), settings.search_space.target
    extractor = inputs.evaluators[0].extractor

    def drawn(plan: Plan, *, images: int = IMAGES, seed: int = JUDGED_SEED) -> Tensor:
        batches = generate(
            inputs.base.model,
            inputs.base.scheduler,
            plan,
            conditions=inputs.conditions,
            num_images=images,
            batch=100,
            seed=seed,
            settings=settings.sampling,
        )
        pictures = torch.cat([to_uint8(inputs.decode(one)).cpu() for one in batches])
        return extract_features(pictures, extractor=extractor, batch=100)

    rows = []
    for steps, num_full in BUDGETS:
        plain = Sampling(steps=steps, solver="ab2")
        costs = reuse_costs(
            inputs.base.model,
            inputs.base.scheduler,
            dense_plan(target, plain),
            order=1,
            conditions=inputs.conditions,
            num_images=32,
            seed=1,
            settings=settings.sampling,
        )
        reference = drawn(dense_plan(target, plain))
        near = drawn(dense_plan(target, plain), images=MOVED_IMAGES, seed=MOVED_SEED)

        def few_images(mask: str, *, plain: Sampling = plain, near: Tensor = near) -> float:
            plan = dense_plan(target, replace(plain, cache=Cache(pattern=mask, first=0)))
            return paired_distance(drawn(plan, images=MOVED_IMAGES, seed=MOVED_SEED), near)

        every = [
            "".join("F" if one in (0, *chosen) else "p" for one in range(steps))
            for chosen in combinations(range(1, steps), num_full - 1)
        ]
        chosen = random.Random(0).sample(every, min(RANDOM_MASKS, len(every)))
        named = {
            "planned": planned_masks(costs)[num_full],
            "spaced": Cache(full=num_full / steps).of(steps),
            "spaced, 2 first": Cache(full=num_full / steps, warmup=2).of(steps),
            "FORA": Cache(full=num_full / steps).of(steps),
            "planned, then moved": moved(planned_masks(costs)[num_full], few_images),
        }
        of_budget = []
        for what, mask in [*named.items(), *(("random", one) for one in chosen)]:
            cache = Cache(pattern=mask, first=0)
            if what == "FORA":
                cache = replace(cache, order=0, reuse="modules")
            found = paired_distance(
                drawn(dense_plan(target, Sampling(steps=steps, solver="ab2", cache=cache))), reference
            )
            of_budget.append(
                {
                    "steps": steps,
                    "full": num_full,
                    "what": what,
                    "mask": mask,
                    "cost": mask_cost(mask, costs),
                    "paired_distance": round(found, 5),
                }
            )
        masks = [row for row in of_budget if row["what"] == "random"]
        tau = kendalltau([row["cost"] for row in masks], [row["paired_distance"] for row in masks]).statistic
        better = sum(row["paired_distance"] < of_budget[0]["paired_distance"] for row in masks)
        print(f"{steps} steps, {num_full} full: tau {tau:.2f} over {len(masks)} masks; {better} beat the planned one")
        for row in of_budget[: len(named)]:
            print("   ", row["what"], row["mask"], f"{row['paired_distance']:.4f}", flush=True)
        rows += of_budget
    with (HERE / "masks.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
