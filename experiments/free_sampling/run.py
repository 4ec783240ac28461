"""What sampling gives for free: the quickstart's dense base under solvers, shifts, first steps, patterns of reuse,
and gains.

    uv run python experiments/free_sampling/run.py           # 500 images, seed 0, as the quickstart measures its trials
    uv run python experiments/free_sampling/run.py --images 2000 --seed 5
    uv run python experiments/free_sampling/run.py --time    # latency in place of quality; wants a quiet machine

Writes `seed<seed>_<images>.csv` or `latency.csv` beside this file, a row as soon as it is known; rows that are there
are not measured again.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import torch

from flexsearch.config import load_config
from flexsearch.data.images import to_uint8
from flexsearch.diffusion.sampling import generate
from flexsearch.latency.design import dense_plan
from flexsearch.objectives.features import extract_features
from flexsearch.objectives.quality import measure_features
from flexsearch.schedule import Cache, Gain, Sampling
from flexsearch.schedule.start import Start
from flexsearch.trial.data_gaussian import measure_gaussian
from flexsearch.trial.inputs import load_inputs
from flexsearch.trial.timing import timer_of

HERE = Path(__file__).parent
STEPS = (3, 4, 5, 7, 10)
SHIFTS = (0.7, 1.0, 1.5, 2.0)
STARTS: tuple[Start, ...] = ("model", "mean", "gaussian")
PATTERNS = ("FFp", "FFpp", "FFpFp", "FFnFn", "FFpFpp", "FFnFpn", "FFpFpFp", "FFFpFpFp", "FpFpFpFpFp", "FFppFppFpp")


def samplings() -> Iterator[Sampling]:
    """List what is measured, in the order of the table."""
    for steps in (*STEPS, 20, 40):
        yield Sampling(steps=steps)
    for solver in ("ab2", "heun", "dpmsolver++", "unipc"):
        for steps in (2, *STEPS):
            yield Sampling(steps=steps, solver=solver)
    for pattern in PATTERNS:
        for first, order in ((0, 1), (1, 1), (1, 0), (2, 1)):
            cache = Cache(pattern=pattern, first=first, order=order)
            yield Sampling(steps=len(pattern), solver="ab2", cache=cache)
        cache = Cache(pattern=pattern, first=0, reuse="modules")
        yield Sampling(steps=len(pattern), solver="ab2", cache=cache)
    for at in (2, 4, 6, 8):
        for stream in (0.95, 0.9, 0.85):
            yield Sampling(steps=4, solver="ab2", gain=Gain(stream=stream, at=at))
    for steps in STEPS:
        for stream in (0.95, 0.9):
            yield Sampling(steps=steps, solver="ab2", gain=Gain(stream=stream, at=4))
    for pattern in ("FFp", "FFpFp", "FFnFn", "FFpFpp", "FFnFpn", "FFpFpFp"):
        for stream in (0.95, 0.9):
            cache = Cache(pattern=pattern, first=1)
            yield Sampling(steps=len(pattern), solver="ab2", cache=cache, gain=Gain(stream=stream, at=4))
    for stream in (1.0, 0.75):
        for steps in (2, 3, 4, 5, 10):
            for shift in SHIFTS:
                for start in STARTS:
                    gain = Gain(stream=stream, at=4)
                    yield Sampling(steps=steps, solver="ab2", shift=shift, start=start, gain=gain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time", action="store_true", help="measure latency in place of quality")
    arguments = parser.parse_args()
    settings = load_config(HERE.parents[1] / "search_spaces" / "quickstart.yaml").trial_settings
    inputs, batch = load_inputs(settings), settings.objectives.quality.batch
    evaluator, target = inputs.evaluators[0], settings.search_space.target
    one_pass = dense_plan(target, Sampling(steps=1)).macs
    timer = timer_of(settings, inputs)
    inputs.base.model.set_data_gaussian(measure_gaussian(settings, inputs, seed=0, report=lambda *_: None))
    name = "latency" if arguments.time else f"seed{arguments.seed}_{arguments.images}"
    path = HERE / f"{name}.csv"
    known = {row["sampling"]: row for row in csv.DictReader(path.open())} if path.exists() else {}
    for sampling in samplings():
        if str(sampling) in known:
            continue
        plan = dense_plan(target, sampling)
        row: dict[str, object] = {"sampling": str(sampling), "passes": round(plan.macs / one_pass, 3)}
        if arguments.time:
            found, _ = timer.measure(plan)
            row |= {"ms_per_image": round(found.value, 3), "spread": round(found.spread or 0, 3)}
        else:
            batches = generate(
                inputs.base.model,
                inputs.base.scheduler,
                plan,
                conditions=inputs.data.conditions,
                num_images=arguments.images,
                batch=batch,
                seed=arguments.seed,
                settings=settings.sampling,
            )
            images = torch.cat([to_uint8(inputs.decode(one)).cpu() for one in batches])
            features = extract_features(images, extractor=evaluator.extractor, batch=batch)
            measured = measure_features(features, evaluator=evaluator)[0]
            row[measured.name] = round(measured.value, 3)
        print(row, flush=True)
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
        known[str(sampling)] = row


if __name__ == "__main__":
    main()
