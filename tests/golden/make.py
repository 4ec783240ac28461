"""Made the golden fixtures beside this file, at commit 90210df (flexsearch 0.1.0), and is kept for the record.

`uv run python tests/golden/make.py values` ran at that commit and gives the same files each time. The stored run was
made by the commands of `make_old_run`, one by one; made again it differs, for what is timed decides which trials are
proposed and pruned. Do not run this at a later commit: the files freeze what 0.1.0 gave.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import api
import torch
from flexsearch.schedule.macs import operation_macs
from safetensors.torch import save_file

from flexsearch.config import load_config
from flexsearch.objectives.composed_latency import HeldOut, LatencyProfile, OperationTime, key_of
from flexsearch.schedule.density import Candidate, DensitySchedule

SPACES = ("quickstart", "dit_b", "dit_xl", "dit_xl_512", "pixart_alpha", "latte", "fashion_mnist")
NUM_DRAWN = 200
BATCH, STRIDE, SAMPLER_STEPS = 2, 13, 4

TEXT = {"cross_attention_dim": 24, "caption_channels": 20}
SIZES = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "num_layers": 6,
    "in_channels": 4,
    "out_channels": 8,
    "sample_size": 16,
    "patch_size": 2,
}
LATTE = {
    "attention_bias": True,
    "activation_fn": "gelu-approximate",
    "norm_type": "ada_norm_single",
    "norm_elementwise_affine": False,
    "norm_eps": 1e-6,
    "num_embeds_ada_norm": 1000,
    "video_length": 4,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "dit": {
        **SIZES,
        "num_embeds_ada_norm": 10,
        "norm_type": "ada_norm_zero",
        "activation_fn": "gelu-approximate",
    },
    "pixart": {**SIZES, **TEXT},
    "latte": {**SIZES, **TEXT, **LATTE},
}
DENSE = {"segments": [{"family": "dense", "depth": 6}], "timetable": {"edges": [0, 1], "grids": [1]}}
ONE_MODULE = {
    "segments": [
        {"family": "pooling", "depth": 1},
        {"family": "sdtm", "merge": 1, "sparse": 1, "dense": 1},
        {"family": "dense", "depth": 1},
    ],
    "timetable": {"edges": [0, 0.5, 1], "grids": [5, 3]},
}
TWO_MERGES = {
    "segments": [
        {"family": "pooling", "depth": 1},
        {"family": "sdtm", "merge": 2, "sparse": 1, "dense": 0},
        {"family": "dense", "depth": 1},
    ],
    "timetable": {"edges": [0, 0.3, 1], "grids": [4, 2]},
}


def _lines(name: str, rows: list[Any]) -> None:
    """A JSON list, one row a line."""
    text = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    (api.HERE / name).write_text(f"[\n{text}\n]\n")


def _json(name: str, values: Any) -> None:
    (api.HERE / name).write_text(json.dumps(values, indent=1) + "\n")


def times_of(sampler_steps: int) -> list[float]:
    """Diffusion times of a linear grid over 1000 timesteps, from noise to data, as DDIM's `leading` spacing has it."""
    ratio = 1000 // sampler_steps
    return [ratio * step / 1000 for step in reversed(range(sampler_steps))]


def make_candidates() -> None:
    found: list[tuple[str, str, Any, Candidate]] = []
    for index, space in enumerate(SPACES):
        num = NUM_DRAWN // len(SPACES) + (index < NUM_DRAWN % len(SPACES))
        shape = api.shape_of_space(space)
        unique = {api.digest(one): one for one in api.draws(space, 4 * num, seed=f"candidates of {space}")}
        found += [("drawn", space, shape, one) for one in list(unique.values())[:num]]
        found.append(("paper", space, shape, api.paper(shape, sampler_steps=50)))
    found += [("preset", name, api.shape_of_preset(name), api.preset(name, sampler_steps=50)) for name in api.PRESETS]
    times = {steps: times_of(steps) for steps in sorted({one.sampler_steps for *_, one in found})}
    rows = [
        {
            "source": source,
            "of": of,
            "candidate": api.candidate_dict(one),
            "digest": api.digest(one),
            "schedule_digest": api.schedule_digest(one),
            "text": str(one),
            "stage_macs": api.stage_macs(one, shape),
            "mean_macs": api.mean_macs(one, shape),
            "sampled_macs": api.mean_macs(one, shape, times[one.sampler_steps]),
            "params": api.params(one, shape),
            "stages": "".join(map(str, api.stages_at(one, shape, times[one.sampler_steps]))),
        }
        for source, of, shape, one in found
    ]
    _lines("candidates.json", rows)
    _lines("times.json", [[steps, grid] for steps, grid in times.items()])


def make_spaces() -> None:
    spaces = {name: api.space_facts(name) for name in SPACES}
    keys = {"quickstart": api.warm_start_key(api.SPACES / "quickstart.yaml")}
    rows = [json.dumps(name) + ":" + json.dumps(facts, separators=(",", ":")) for name, facts in spaces.items()]
    text = '{"spaces":{\n' + ",\n".join(rows) + '\n},\n"warm_starts":' + json.dumps(keys) + "}\n"
    (api.HERE / "space.json").write_text(text)


def make_outputs() -> None:
    tensors: dict[str, torch.Tensor] = {}
    rows: list[dict[str, Any]] = []

    def keep(output: torch.Tensor, **row: Any) -> None:
        name = f"{len(rows):02d}"
        tensors[name] = output.flatten()[::STRIDE].clone()
        rows.append({**row, "tensor": name, "shape": list(output.shape), "norm": float(output.double().norm())})

    for backbone, config in CONFIGS.items():
        frames = {"frames": 2} if backbone == "latte" else {}
        schedules = {
            "dense": DENSE,
            "paper": api.tiny_paper_schedule(backbone, config),
            "one module": ONE_MODULE,
            "two merges": {**TWO_MERGES, "timetable": {**TWO_MERGES["timetable"], **frames}},
        }
        given = api.condition(backbone, config, batch=BATCH)
        none = api.no_condition(backbone, config, batch=BATCH)
        own = {"backbone": backbone, "config": config, "batch": BATCH}
        for name, schedule in schedules.items():
            model, edges = api.golden_model(backbone, config, schedule), schedule["timetable"]["edges"]
            for stage, (low, high) in enumerate(pairwise(edges)):
                times = [low + 0.25 * (high - low), low + 0.75 * (high - low)]
                output = api.model_output(model, given, times)
                keep(output, **own, kind="output", name=name, schedule=schedule, stage=stage, times=times)
        settings: list[tuple[str, float, int | None]] = [("one module", 1.0, None)]
        settings += [("two merges", 1.5, 3)] if backbone == "dit" else []
        for name, guidance, channels in settings:
            how = {"sampler_steps": SAMPLER_STEPS, "guidance": guidance, "guidance_channels": channels}
            model = api.golden_model(backbone, config, schedules[name])
            drawn = api.draw(model, given=given, none=none, batch=BATCH, **how)
            keep(drawn, **own, kind="sample", name=name, schedule=schedules[name], **how)
    save_file(tensors, api.HERE / "outputs.safetensors")
    _lines("outputs.json", [{**row, "stride": STRIDE} for row in rows])


def make_profile() -> None:
    """A latency profile of the tiny space; times follow from MACs, so that they are the same each time."""
    config = load_config(api.HERE / "space.yaml")
    space, shape = config.search_space, config.shape
    candidates = space.candidates(up_to=1000)
    dense = Candidate(schedule=DensitySchedule.all_dense(space.num_blocks), sampler_steps=3)
    every = [*candidates, dense, api.paper(shape, sampler_steps=3)]
    found = [operation for one in every for stage in space.plan(one.schedule).stages for operation in stage]
    operations = {
        key: OperationTime(kind=key[0], queries=key[1], keys=key[2], ms=0.004 + 1e-7 * operation_macs(operation, shape))
        for operation in found
        for key in [key_of(operation)]
    }
    profile = LatencyProfile(
        num_blocks=space.num_blocks,
        grid=space.grid,
        operations=tuple(operations.values()),
        step_ms=0.05,
        image_ms=0.01,
        reference_ms=12.5,
        sampler_times={steps: tuple(times_of(steps)) for steps in space.sampler_steps},
        noise=0.01,
        error=0.02,
        kendall_tau=0.9,
        held_out=(HeldOut(candidate=candidates[0], predicted_ms=1.25, measured_ms=1.5),),
        protocol={"device": "none: made by hand", "batch": 64, "guidance": 1.0, "dtype": "fp32"},
    )
    predicted = [[api.candidate_dict(one), profile.predict(one)] for one in [*candidates[::6], *every[-2:]]]
    _json("profile.json", profile.to_dict())
    _lines("predictions.json", predicted)


def make_old_run() -> None:
    """A finished run, confirmed, with one trial's model exported; only what the tests read is kept."""
    out = api.HERE / "old_run"
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:
        here = Path(temporary)
        shutil.copy(api.HERE / "space.yaml", here)
        variables = {**os.environ, "XDG_CACHE_HOME": str(here / "cache"), "OMP_NUM_THREADS": "1"}

        def flexsearch(*arguments: object) -> str:
            command = [sys.executable, "-m", "flexsearch", *map(str, arguments)]
            return subprocess.run(
                command, cwd=here, env=variables, check=True, stdout=subprocess.PIPE, text=True
            ).stdout

        flexsearch("pretrain", "space.yaml")
        flexsearch("run", "space.yaml", "--run-dir", "run", "--executor", "local")
        flexsearch("confirm", "run", "--images", 50, "--seeds", 2)
        trials = {number: json.loads(flexsearch("show", "run", number, "--json")) for number in _numbers(here / "run")}
        searched = [one for one in trials.values() if one["state"] == "complete" and one["baseline"] is None]
        kept = searched[1]["trial"]
        flexsearch("export", "run", kept, "exported")
        _trim(here / "run", kept)
        for name in ("base", "run", "exported"):
            shutil.copytree(here / name, out / name)
        (out / "front.json").write_text(flexsearch("front", "run", "--json"))
        shown = [json.loads(flexsearch("show", "run", number, "--json")) for number in trials]
    _lines("old_run/show.json", shown)


def _numbers(run: Path) -> list[int]:
    with sqlite3.connect(run / "study.db") as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        trial = next(name for name in tables if name.endswith("_trial"))
        return [number for (number,) in database.execute(f"SELECT number FROM {trial} ORDER BY number")]


def _trim(run: Path, kept: int) -> None:
    """Leaves configuration, evidence, shared files, every trial's result, and the model of trial `kept`."""
    shutil.rmtree(run / "artifacts")
    for name in ("run.log", "front.csv", "front.png", "driver.lock"):
        (run / name).unlink()
    for path in [*run.glob("base/device.*"), *run.glob("trials/*/samples.png"), *run.glob("trials/*/lock")]:
        path.unlink()
    for folder in [*run.glob("trials/*/seed-*"), *run.glob("trials/*/model")]:
        if folder != run / "trials" / str(kept) / "model":
            shutil.rmtree(folder)
    with sqlite3.connect(run / "study.db") as database:
        database.execute("VACUUM")


MAKERS = {
    "values": (make_candidates, make_spaces, make_outputs, make_profile),
    "old_run": (make_old_run,),
}

if __name__ == "__main__":
    for what in sys.argv[1:] or list(MAKERS):
        for make in MAKERS[what]:
            make()
