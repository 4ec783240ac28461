"""From a front to a trained model: export, train, kill -9, resume, two processes. Are they all the same run?

    uv run python experiments/train_quickstart/run.py runs/quickstart

Exports the searched point of the front that is farthest from the dense base at equal steps, where training has most to
give, then trains its recipe with the real command

1. without interruption;
2. killed with SIGKILL twice on the way and started again by the same command;
3. by two processes, `accelerate launch --multi_gpu --num_processes 2` (without GPUs they talk through gloo);

and compares losses, weights and distances. The distance is measured by the search's own protocol, on its own noise, so
that the first value is the trial's. Run 1 is then judged under further seeds of the noise. Writes `curves.csv`,
`summary.json` and `training.png` to `--out`; models lie in RUN/trained. Takes about 15 minutes of two cores, and goes
on where it stopped.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from flexsearch.cli.results import front_of_run, open_run
from flexsearch.export.evaluation import evaluate
from flexsearch.export.processes import Processes
from flexsearch.export.recipe import load_recipe
from flexsearch.models.flexdit import FlexDiT
from flexsearch.report.claims import dense_curve
from flexsearch.report.front import Front
from flexsearch.study.store import TrialRecord
from flexsearch.trial.inputs import load_inputs

HERE = Path(__file__).parent
SETTINGS = {
    "batch": 64,
    "learning_rate": 1e-3,
    "decay": "linear",
    "warmup": 20,
    "ema_decay": 0.98,
    "distillation": 1.0,
    "save_every": 25,
}
"""Of a run of some hundred updates; the recipe's defaults are the paper's, for some hundred thousand."""
TWO = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")
RUNS = {"one process": "whole", "killed twice": "killed", "two processes": "two"}
JUDGED_SEEDS = (101, 102, 103)
PROMPTLY = {"OMP_NUM_THREADS": "1"}  # so that one and two processes compute a part in the same way


def farthest_from_dense(front: Front) -> TrialRecord:
    """The searched point of the front whose quality lies farthest above the dense base's at the same sampler steps."""
    dense = {record.candidate.sampling.steps: front.values(record)[0] for record in dense_curve(front)}
    searched = [record for record in front.points if record.baseline is None]

    def gap(record: TrialRecord) -> float:
        return front.values(record)[0] - dense[record.candidate.sampling.steps]

    return max((record for record in searched if record.candidate.sampling.steps in dense), key=gap)


def command(exported: Path, out: Path, options: list[str], *, two: bool = False) -> list[str]:
    program = [sys.executable, *(TWO if two else ()), "-m", "flexsearch", "train", str(exported / "recipe.yaml")]
    return [*program, "--out", str(out), *options]


def rows_in(out: Path) -> int:
    path = out / "training.csv"
    return len(path.read_text().splitlines()) if path.exists() else 0


def train_killed(line: list[str], out: Path, *, updates: int) -> None:
    """Kills the run with SIGKILL at a third and at two thirds, then lets it end."""
    for share in (1 / 3, 2 / 3):
        if not (out / "candidate.json").exists():
            process = subprocess.Popen(line, env={**os.environ, **PROMPTLY})
            while process.poll() is None and rows_in(out) < share * updates:
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            process.wait()
            print(f"killed at {rows_in(out) - 2} updates", flush=True)
    subprocess.run(line, check=True, env={**os.environ, **PROMPTLY})


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(next((out / "transformer").glob("*.safetensors")))


def largest_difference(one: Path, other: Path) -> float:
    here, there = weights(one), weights(other)
    assert here.keys() == there.keys()
    return max(float((here[name] - there[name]).abs().max()) for name in here)


def judged(model: Path, exported: Path) -> list[float]:
    """The distance of a model under seeds of the noise that the search has not seen."""
    recipe = load_recipe(exported)
    inputs = load_inputs(recipe)
    loaded = FlexDiT.from_pretrained(model).eval()
    found = []
    for seed in JUDGED_SEEDS:
        reseeded = type(recipe)(**{**vars(recipe), "evaluation_seed": seed})
        found.append(evaluate(loaded, reseeded, inputs, Processes())[0].value)
    return found


def draw(curves: pd.DataFrame, quality: str, baselines: dict[str, float], path: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), dpi=150)
    styles = {
        "one process": ("-", "#0b6e99", 3.0),
        "killed twice": ("-", "#c77d0a", 1.6),
        "two processes": (":", "#1f2a37", 1.6),
    }
    for name, rows in curves.groupby("run", sort=False):
        line, colour, width = styles[name]
        losses = rows.dropna(subset="loss")
        smooth = losses["loss"].rolling(15, min_periods=1).mean()
        left.plot(losses["update"], smooth, line, color=colour, linewidth=width, label=name)
        found = rows.dropna(subset=quality)
        right.plot(found["update"], found[quality], line, color=colour, linewidth=width, marker="o", label=name)
    left.set_ylabel("training loss (mean of 15 updates)")
    right.set_ylabel(f"{quality}, the search's protocol")
    for name, value in baselines.items():
        right.axhline(value, color="#888888", linewidth=0.8, linestyle="--")
        right.annotate(name, (right.get_xlim()[1], value), ha="right", va="bottom", fontsize=8, color="#666666")
    for axes in (left, right):
        axes.set_xlabel("updates")
        axes.legend(frameon=False, fontsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main(run_dir: Path, out: Path, *, updates: int) -> None:
    run = open_run(run_dir)
    front = front_of_run(run)
    chosen = farthest_from_dense(front)
    number, quality = chosen.number, front.objectives[0].name
    folder = run_dir / "trained"
    exported = folder / f"exported-{number}"
    flexsearch = [sys.executable, "-m", "flexsearch"]
    if not exported.exists():
        subprocess.run([*flexsearch, "export", str(run_dir), str(number), str(exported)], check=True)
    settings = {**SETTINGS, "updates": updates, "evaluate_every": updates // 4}
    options = [f"--set=training.{name}={value}" for name, value in settings.items()]
    for name, short in RUNS.items():
        target = folder / short
        if (target / "candidate.json").exists():
            continue
        line = command(exported, target, options, two=name == "two processes")
        print(" ".join(line), flush=True)
        if name == "killed twice":
            shutil.rmtree(target, ignore_errors=True)
            train_killed(line, target, updates=updates)
        else:
            subprocess.run(line, check=True, env={**os.environ, **PROMPTLY})
    curves = pd.concat([pd.read_csv(folder / short / "training.csv").assign(run=name) for name, short in RUNS.items()])
    out.mkdir(parents=True, exist_ok=True)
    curves.to_csv(out / "curves.csv", index=False)
    losses = curves.pivot_table(index="update", columns="run", values="loss")
    whole = losses["one process"]
    values = curves.dropna(subset=quality).pivot_table(index="update", columns="run", values=quality)
    summary = {
        "trial": number,
        "schedule": str(chosen.candidate),
        "settings": settings,
        quality: {name: values[name].round(3).to_dict() for name in RUNS},
        "of_the_trial": round(front.values(chosen)[0], 3),
        "other_seeds": {
            "before": [round(value, 3) for value in judged(exported, exported)],
            "after": [round(value, 3) for value in judged(folder / "whole", exported)],
        },
        "killed_equals_whole_to_the_bit": largest_difference(folder / "whole", folder / "killed") == 0.0
        and bool((losses["killed twice"] == whole).all()),
        "two_processes": {
            "largest_relative_difference_of_losses": float((losses["two processes"] / whole - 1).abs().max()),
            "of_the_first_ten": float((losses["two processes"] / whole - 1).abs().iloc[:10].max()),
            "largest_difference_of_weights": largest_difference(folder / "whole", folder / "two"),
        },
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    steps = chosen.candidate.sampling.steps
    dense = {
        f"dense base, {record.candidate.sampling.steps} steps": front.values(record)[0]
        for record in front.baselines
        if record.candidate.schedule.is_dense and record.candidate.sampling.steps == steps
    }
    draw(curves, quality, dense, out / "training.png")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--updates", type=int, default=400)
    arguments = parser.parse_args()
    main(arguments.run_dir, arguments.out, updates=arguments.updates)
