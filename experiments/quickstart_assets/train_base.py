"""Trains the quickstart's dense base as `base.yaml` says, and records how it improves.

    uv run python experiments/quickstart_assets/train_base.py --fashion-mnist DIR --out DIR
    uv run python experiments/quickstart_assets/train_base.py --of experiments/second_base \
        --begin-at embedded:quickstart --out runs/second_base/base

About 0.6 s per update on one core of a 2-core cloud machine; resumes when it is run again. Writes the base to the
folder and its distance, every 1,000 updates, to `base_curve.csv` beside `base.yaml`. The second is a base of other
patches that begins at the weights of the first, where they fit.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import torch

from flexsearch.config import RunConfig, load_config
from flexsearch.data.conditions import ClassConditions
from flexsearch.data.fashion_mnist import NUM_CLASSES
from flexsearch.data.images import to_uint8
from flexsearch.diffusion.sampling import generate, plan_of
from flexsearch.diffusion.training import Step
from flexsearch.models.flexdit import FlexDiT
from flexsearch.models.loading import load_base
from flexsearch.models.settings import BaseSettings
from flexsearch.objectives.extractors import create_extractor
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.frechet import feature_statistics, frechet_distance
from flexsearch.objectives.reference_file import load_statistics
from flexsearch.paths import embedded_path
from flexsearch.schedule.sampling import Sampling
from flexsearch.trial.pretrain import pretrain

HERE = Path(__file__).parent
EVALUATE_EVERY = 1000
SAMPLER_STEPS = (10, 5)


def distances(model: FlexDiT, scheduler: object, config: RunConfig) -> list[float]:
    """The distance at each of SAMPLER_STEPS."""
    extractor = create_extractor("fashion-cnn", device=torch.device("cpu"))
    reference = load_statistics(embedded_path("quickstart/reference.npz"))
    model.eval()
    found = []
    for steps in SAMPLER_STEPS:
        drawn = generate(
            model,
            scheduler,
            plan_of(model, scheduler, Sampling(steps=steps), config.sampling),
            conditions=ClassConditions(num_classes=NUM_CLASSES),
            num_images=config.objectives.quality.images,
            batch=50,
            seed=0,
            settings=config.sampling,
        )
        images = torch.cat([to_uint8(batch) for batch in drawn])
        statistics = feature_statistics(extract_features(images, extractor=extractor, batch=500))
        found.append(frechet_distance(statistics, reference))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fashion-mnist", default="data", help="torchvision's folder; filled from the network")
    parser.add_argument("--of", type=Path, default=HERE, help="folder of `base.yaml`")
    parser.add_argument(
        "--begin-at", metavar="BASE", help="checkpoint of a base whose weights are taken where they fit"
    )
    parser.add_argument("--out", type=Path, default=Path("flexsearch/assets/quickstart/base"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in `flexsearch run`")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = load_config(arguments.of / "base.yaml", arguments.set)
    assert config.pretrain is not None
    curve = arguments.of / "base_curve.csv"
    if not curve.exists():
        curve.write_text("updates,loss," + ",".join(f"distance_{steps}_steps" for steps in SAMPLER_STEPS) + "\n")

    from diffusers import FlowMatchEulerDiscreteScheduler

    start, losses = arguments.begin_at, list[float]()

    def report(step: Step, averaged: FlexDiT) -> None:
        losses.append(step.loss)
        if step.update % 100 == 0:
            print(f"update {step.update}: loss {sum(losses[-100:]) / len(losses[-100:]):.4f}", flush=True)
        if step.update % EVALUATE_EVERY == 0 or step.update == config.pretrain.updates:
            found = distances(averaged, FlowMatchEulerDiscreteScheduler(), config)
            row = [
                step.update,
                f"{sum(losses[-1000:]) / len(losses[-1000:]):.4f}",
                *(f"{value:.3f}" for value in found),
            ]
            with curve.open("a", newline="") as file:
                csv.writer(file).writerow(row)
            print(f"update {step.update}: distances {found}", flush=True)

    pretrain(
        config.base,
        replace(config.data, root=arguments.fashion_mnist) if config.data.name == "fashion_mnist" else config.data,
        config.pretrain,
        out=arguments.out,
        seed=config.search.seed,
        device=torch.device("cpu"),
        report=report,
        begin_at=None if start is None else load_base(BaseSettings(checkpoint=start)).model.base.state_dict(),
    )
