"""Searches a pipeline that `make.py` has made, as its user would: its first space without training, then schedules too.

    OMP_NUM_THREADS=1 uv run python experiments/tiny_models/run.py mmdit --base models/mmdit
    OMP_NUM_THREADS=1 uv run python experiments/tiny_models/run.py wan --base models/wan

The space is what `flexsearch init` writes, made small: fewer steps and images, a CPU. The second search adds blocks on
fewer tokens, taught by the base's samples (`teacher_samples`), so that neither has a data set. Leaves, beside this
file, `KIND_free.csv`, `KIND_trained.csv` (all complete trials), their fronts as PNG, and `KIND_images.png`: the dense
base at most and at fewest steps, and the knee of each front, from equal noise.
"""

import argparse
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

import flexsearch
from flexsearch.api import SearchRun
from flexsearch.first_space import first_space
from flexsearch.models.pipeline_config import read_pipeline

HERE = Path(__file__).parent
COLUMNS = ["trial", "schedule", "sampling", "baseline", "on_front", "macs"]
QUALITY: dict[str, dict[str, Any]] = {
    "mmdit": {"images": 200, "extractor": "fashion-cnn", "reference": "base"},
    "wan": {"images": 60, "distance": "ssim", "batch": 20},
}
SEGMENTS = [
    {"family": "pooling", "depth": {"int": [0, 1]}},
    {"family": "sdtm", "merge": 1, "sparse": "rest", "dense": 0},
    {"family": "dense", "depth": {"int": [1, 2]}},
]


def space_of(kind: str, base: Path, *, images: int | None, is_trained: bool) -> dict[str, Any]:
    """The first space of a pipeline, small enough for a CPU core."""
    values: dict[str, Any] = yaml.safe_load(first_space(read_pipeline(str(base))))
    values["data"]["root"] = str(base / "prompts.txt")
    values["space"]["sampler_steps"] = {"choice": [3, 4, 5, 6, 8]}
    values["space"]["cache"]["warmup"] = 1
    quality = {**QUALITY[kind], **({} if images is None else {"images": images})}
    values["objectives"] = {"quality": quality, "latency": {"batch": 4, "repeats": 3, "threads": 1}}
    del values["base"]["dtype"]
    values["sampling"] = {"guidance": 2.0}
    values["search"] |= {"startup": 8, "noise_schedules": 2, "noise_seeds": 2}
    values["resources"] = {"gpu": 0, "cpu": 1}
    if is_trained:
        values["name"] += "_trained"
        values["space"] |= {
            "segments": SEGMENTS,
            "timetable": {"stages": 2, "clean_grid": {"choice": [2, 3]}, "noise_grid": 2},
            "dense": {"choice": [False, True]},
        }
        values["teacher_samples"] = {"images": 512, "steps": [3, 4]}
        values["trial"] = {"updates": 150, "batch": 16, "learning_rate": 1e-3, "decay": "linear", "ema_decay": 0.9}
    return values


def tables(kind: str, name: str, found: SearchRun, out: Path) -> None:
    trials = found.trials()
    shown = [*(column for column in COLUMNS if column in trials), *found.run.settings.objectives.names]
    trials[shown].to_csv(out / f"{kind}_{name}.csv", index=False, float_format="%.5g")
    found.plot().savefig(out / f"{kind}_{name}.png", dpi=80)
    print(f"{kind}, {name}: front of {len(trials)} complete trials")
    print(found.front()[shown].to_string(index=False), flush=True)


def pictures(free: SearchRun, trained: SearchRun) -> Image.Image:
    """One row of images for each of four trials."""
    dense = free.trials()
    dense = dense[dense["baseline"].astype(str).str.startswith("dense")].sort_values("macs")
    chosen = [(free, int(dense["trial"].iloc[-1])), (free, int(dense["trial"].iloc[0]))]
    chosen += [(run, run.choose(knee=True).point.record.number) for run in (free, trained)]
    images = [run.images(trial) for run, trial in chosen]
    half = max(1, images[0].height // 2)
    sheet = Image.new("RGB", (images[0].width, half * len(images)), "white")
    for row, image in enumerate(images):
        sheet.paste(image.crop((0, 0, image.width, half)), (0, row * half))
    return sheet


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=QUALITY)
    parser.add_argument("--base", type=Path, required=True, help="folder of the pipeline")
    parser.add_argument("--runs", type=Path, default=Path("runs/tiny_models"))
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--images", type=int, help="other than 200, of videos 60")
    arguments = parser.parse_args()
    runs = {}
    for name in ("free", "trained"):
        space = space_of(arguments.kind, arguments.base, images=arguments.images, is_trained=name == "trained")
        folder = arguments.runs / f"{arguments.kind}_{name}"
        runs[name] = flexsearch.search(space, out=folder, trials=arguments.trials, executor="local")
        tables(arguments.kind, name, runs[name], arguments.out)
    pictures(runs["free"], runs["trained"]).save(arguments.out / f"{arguments.kind}_images.png")
