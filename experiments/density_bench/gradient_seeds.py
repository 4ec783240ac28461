"""Learns the schedules that `search.seed_from: gradient` begins with, on the table's space and the embedded weights.

    uv run python experiments/density_bench/gradient_seeds.py

Writes `gradient_seeds.json`: the schedules, densest first, and the CPU seconds that they took. Less than a minute of
one core. Times are MACs, unless this device has a latency profile of the space (`flexsearch profile`).
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from shipped import HERE

sys.path.append(str(HERE.parent))
from fine_tunes import opened

from flexsearch.config import load_config
from flexsearch.files import read_json
from flexsearch.trial.gradient_seeds import make_seeds

FILE = HERE / "gradient_seeds.json"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/density_bench"))
    parser.add_argument("--out", type=Path, default=FILE)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(HERE / "space.yaml")
    context = replace(opened(arguments.runs / "quickstart"), settings=config.trial_settings, space=config.search_space)
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seeds.json"
        make_seeds(path, context, seed=0, report=lambda *_: None)
        found = {"seconds": round(time.process_time() - begun, 2), "seeds": read_json(path)["seeds"]}
    arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    for seed in found["seeds"]:
        print(seed["schedule"], f"price {seed['price']:g}, loss {seed['loss']:.4f}, time {seed['time']:.3f}")
