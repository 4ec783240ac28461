"""What every published checkpoint that is known costs, dense, under the paper's schedule and by what is free.

    uv run python experiments/models/run.py

Models are built on torch's meta device, without weights: parameters are counted there, and the MACs of one model call
by torch's counter, which must agree with the plan's. Writes `models.csv` beside this file. Minutes of a CPU.
"""

import csv
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from flexsearch.data.conditions import random_condition
from flexsearch.models.architectures import ARCHITECTURES
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule import Candidate, DensitySchedule, Sampling, Target, lower
from flexsearch.schedule.cache import Cache
from flexsearch.schedule.cost import read_text_macs
from flexsearch.schedule.presets import paper_schedule

HERE = Path(__file__).parent
STEPS = 20
FREE = Sampling(steps=STEPS, cache=Cache(pattern="Fp" * (STEPS // 2), first=1))
"""Every second step computes the first block, and takes what the others added one step before."""


def main() -> None:
    rows = []
    for architecture in ARCHITECTURES.values():
        for checkpoint, config in architecture.known.items():
            rows.append({"checkpoint": checkpoint, "backbone": architecture.name, **counted(architecture.name, config)})
            print(rows[-1], flush=True)
    with (HERE / "models.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def counted(backbone: str, config: Any) -> dict[str, Any]:
    """Parameters in millions, MACs of a call on one row in tera, and shares of the dense base's at equal steps."""
    with torch.device("meta"):
        model = FlexDiT(backbone=backbone, base_config=dict(config), tied=True).eval()
    shape = model.shape
    (graph,) = set(model.graphs())
    macs = graph.macs(shape)
    assert 2 * (macs + read_text_macs(shape)) == flops_of_call(model, graph)
    dense, paper = (
        DensitySchedule.all_dense(shape.num_blocks),
        paper_schedule(num_blocks=shape.num_blocks, grid=shape.grid),
    )
    target = Target(shape=shape, is_guided=True)

    def total(schedule: DensitySchedule, sampling: Sampling) -> int:
        return lower(Candidate(schedule=schedule, sampling=sampling), target).macs

    whole = total(dense, Sampling(steps=STEPS))
    return {
        "parameters_m": round(sum(weight.numel() for weight in model.parameters()) / 1e6, 1),
        "blocks": shape.num_blocks,
        "tokens": shape.grid.num_tokens,
        "text_tokens": shape.text_tokens,
        "tmacs_per_call": round(macs / 1e12, 3),
        "paper_schedule": str(paper),
        "paper_share": round(total(paper, Sampling(steps=STEPS)) / whole, 3),
        "free_share": round(total(dense, FREE) / whole, 3),
        "both_share": round(total(paper, FREE) / whole, 3),
    }


def flops_of_call(model: FlexDiT, graph: Any) -> int:
    """Floating-point operations that torch counts in one call on one row, its text included."""
    shape = model.shape
    condition = random_condition(shape, batch=1, generator=torch.Generator())
    inputs = {name: value.to("meta") for name, value in condition.items()}
    noisy, timestep = torch.empty(1, *shape.sample_size, device="meta"), torch.empty(1, device="meta")
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(noisy, timestep, graph=graph, **inputs)
    return int(counter.get_total_flops())


if __name__ == "__main__":
    main()
