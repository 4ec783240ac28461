"""What the spacing of flow matching's sigmas costs: the quickstart's dense base over sampler steps, under both.

    uv run python experiments/spacing/run.py

Writes `spacing.csv` beside this file. 500 images, seed 0, as the quickstart measures its trials; some minutes of a CPU.
"""

import csv
from pathlib import Path

import torch

from flexsearch.config import load_config
from flexsearch.data.images import to_uint8
from flexsearch.diffusion.sampling import generate, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.quality import measure_features
from flexsearch.schedule.sampling import Sampling
from flexsearch.trial.inputs import load_inputs

HERE = Path(__file__).parent
STEPS = (3, 4, 5, 7, 10)


def main() -> None:
    config = load_config(HERE.parents[1] / "search_spaces" / "quickstart.yaml")
    inputs, quality = load_inputs(config.trial_settings), config.objectives.quality
    base, evaluator = inputs.base, inputs.evaluators[0]
    rows = []
    for spacing in ("scheduler", "pipeline"):
        settings = SamplingSettings(spacing=spacing)
        for steps in STEPS:
            batches = generate(
                base.model,
                base.scheduler,
                plan_of(base.model, base.scheduler, Sampling(steps=steps), settings),
                conditions=inputs.data.conditions,
                num_images=quality.images,
                batch=quality.batch,
                seed=0,
                settings=settings,
            )
            images = torch.cat([to_uint8(inputs.decode(batch)).cpu() for batch in batches])
            features = extract_features(images, extractor=evaluator.extractor, batch=quality.batch)
            found = measure_features(features, evaluator=evaluator)[0]
            rows.append({"spacing": spacing, "steps": steps, found.name: round(found.value, 3)})
            print(rows[-1], flush=True)
    with (HERE / "spacing.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
