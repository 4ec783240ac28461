"""What width and bypass reach of the speed-up that their MACs allow, on a CPU, at the sizes of DiT-XL/2.

    OMP_NUM_THREADS=1 uv run python experiments/families/share_of_macs.py     # about 5 minutes of one quiet CPU core

Four blocks of DiT-XL/2's width and its 256 tokens, random weights, fp32, one row of one image, one thread. All variants
are timed in turn with the dense blocks, every round; a speed-up is the median over rounds of the ratio to them.
`share_of_macs.csv`: MACs over the dense ones', the speed-up that they allow, what was measured, and the share.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel

from flexsearch.diffusion.sampling import target_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.latency.measure import Workload, interleaved_seconds
from flexsearch.models.architectures.dit import DIT
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule import Candidate, DensitySchedule, Sampling
from flexsearch.schedule.families.dense import Dense
from flexsearch.schedule.families.keep import Keep, Kept
from flexsearch.schedule.families.segment import Segment
from flexsearch.schedule.plan import lower
from flexsearch.schedule.width import Width

HERE = Path(__file__).parent
BLOCKS = 4
SEGMENTS: dict[str, Segment] = {
    "dense": Dense(depth=BLOCKS),
    "heads 6/8, hidden 6/8": Dense(depth=BLOCKS, width=Width(clean_heads=6, clean_hidden=6)),
    "heads 4/8, hidden 4/8": Dense(depth=BLOCKS, width=Width(clean_heads=4, clean_hidden=4)),
    "heads 2/8, hidden 2/8": Dense(depth=BLOCKS, width=Width(clean_heads=2, clean_hidden=2)),
    "hidden 4/8": Dense(depth=BLOCKS, width=Width(clean_hidden=4)),
    "heads 4/8": Dense(depth=BLOCKS, width=Width(clean_heads=4)),
    "MLP on 6/8 of the tokens": Keep(depth=BLOCKS, scope="mlp", tokens=Kept(clean=6)),
    "MLP on 4/8 of the tokens": Keep(depth=BLOCKS, scope="mlp", tokens=Kept(clean=4)),
    "blocks on 6/8 of the tokens": Keep(depth=BLOCKS, scope="block", tokens=Kept(clean=6)),
    "blocks on 4/8 of the tokens": Keep(depth=BLOCKS, scope="block", tokens=Kept(clean=4)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=HERE / "share_of_macs.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = {**DIT.known["facebook/DiT-XL-2-256"], "num_layers": BLOCKS}
    model = FlexDiT.from_base(DiTTransformer2DModel.from_config(config)).eval()
    target = target_of(model, DDIMScheduler(), SamplingSettings())
    plans = {
        name: lower(Candidate(schedule=DensitySchedule(segments=(segment,)), sampling=Sampling(steps=1)), target)
        for name, segment in SEGMENTS.items()
    }
    model.add_weights((one.role, one.block) for plan in plans.values() for one in plan.graphs[0].route)
    model.add_width_order()
    noisy, time, labels = torch.randn(1, *model.shape.sample_size), torch.full((1,), 500.0), torch.tensor([1])

    def workload(name: str) -> Workload:
        graph = plans[name].graphs[0]

        def call() -> object:
            with torch.inference_mode():
                return model(noisy, time, graph=graph, class_labels=labels).sample

        return call

    times = np.array(
        interleaved_seconds([workload(name) for name in plans], repeats=arguments.rounds, device=torch.device("cpu"))
    )  # (variants, rounds)
    ratios, dense = times[0] / times, next(iter(plans.values()))
    table = pd.DataFrame(
        {
            "variant": list(plans),
            "macs": [plan.macs / dense.macs for plan in plans.values()],
            "allowed": [dense.macs / plan.macs for plan in plans.values()],
            "speedup": np.median(ratios, axis=1),
            "quartile_1": np.quantile(ratios, 0.25, axis=1),
            "quartile_3": np.quantile(ratios, 0.75, axis=1),
        }
    )
    table["of_allowed"] = table["speedup"] / table["allowed"]
    table.to_csv(arguments.out, index=False, float_format="%.4g")
    print(f"dense: {np.median(times[0]) * 1000:.0f} ms a call")
    print(table.to_string(index=False, float_format="%.3g"))


if __name__ == "__main__":
    main()
