"""Times every candidate of the benchmark as a trial does. Leave the machine alone meanwhile (4 minutes on one core).

    uv run python experiments/density_bench/latencies.py

Writes `latency.json` in the folder of the runs. Times do not depend on weights: the dense base's are used.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch
from evaluate import LENGTHS, baselines, open_bench, schedules
from trajectory import STEPS, Bench

from flexsearch.diffusion.sampling import denoise, initial_noise
from flexsearch.files import write_atomically
from flexsearch.models.flexdit import FlexDiT
from flexsearch.objectives.latency import REFERENCE_STEPS, Workload, measure_latency


def batch_of(context: Bench, model: FlexDiT, steps: int) -> Workload:
    """Generating one batch of images."""
    inputs, batch = context.inputs, context.config.objectives.latency.batch
    noise = initial_noise(range(batch), shape=model.shape.sample_size, seed=0)
    conditions = inputs.data.conditions

    def run() -> torch.Tensor:
        return denoise(
            model,
            inputs.base.scheduler,
            noise=noise,
            condition=conditions.of_samples(range(batch)),
            none=conditions.none(batch),
            sampler_steps=steps,
            settings=context.config.sampling,
        )

    return run


def time_candidates(context: Bench) -> list[dict[str, Any]]:
    """Latencies of every schedule at every number of steps, in random order, each beside the dense reference."""
    base = context.inputs.base.model.eval()
    reference, reference_ms = batch_of(context, base, REFERENCE_STEPS), None
    pairs = [
        (schedule, steps) for schedule in (*baselines(context.config), *schedules(context.config)) for steps in STEPS
    ]
    random.Random(0).shuffle(pairs)
    rows = []
    for schedule, steps in pairs:
        model = base.clone().eval()
        model.set_schedule(schedule)
        latency, measured_ms = measure_latency(
            batch_of(context, model, steps),
            reference,
            reference_ms=reference_ms,
            settings=context.config.objectives.latency,
            device=context.inputs.device,
            protocol={
                "sampler": type(context.inputs.base.scheduler).__name__,
                "guidance": context.config.sampling.guidance,
            },
        )
        reference_ms = measured_ms if reference_ms is None else reference_ms
        rows.append({"schedule": schedule.digest, "sampler_steps": steps, **latency.to_dict()})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/density_bench"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = time_candidates(open_bench(arguments.runs, warm=True, most_updates=max(LENGTHS)))
    write_atomically(arguments.runs / "latency.json", json.dumps(found))
    print(f"{len(found)} candidates on {found[0]['protocol']['device']}")
