"""Write a first search space for a pipeline of diffusers, from its configuration alone.

The model is recognised by its architecture (`flexsearch.models.architectures`), which needs to declare nothing for
this: how its publishers draw (`drawn_with`) makes better ranges. What is searched is what is free, how the base
samples; the space says, commented out, what would train schedules as well.
"""

import json
from collections.abc import Mapping
from typing import Any

from flexsearch.config import parse_config
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.models.architectures import Architecture
from flexsearch.models.pipeline_config import Pipeline
from flexsearch.models.settings import base_clock, base_shape
from flexsearch.paths import PREFIX, SCHEMA, SHIPPED_PROMPTS, checkpoint_folder
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.plan import Plan
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TransformerShape

_STEPS, _SHARES = 30, (0.16, 0.2, 0.3, 0.4, 0.5, 1.0)
_GUIDANCE = 4.5  # of models that read text, where nothing else is known
_MANY, _FEW = 2000, 200  # images: for a distance of sets, and for one of pairs
_MOST_MACS = 0.6e12  # of a model call, for many images
_FLOPS_A_SECOND = 100e12  # assumed, for estimates that are named so
_FEWEST_BLOCKS = 8  # of which layouts of trained schedules can be made


def first_space(pipeline: Pipeline) -> str:
    """Write a commented search space as YAML; it is checked.

    Raises:
        UserError: its sizes cannot be searched.
    """
    shape, drawn = base_shape(pipeline.base), pipeline.drawn_with
    most = int(drawn.get("steps", _STEPS))
    guidance = float(drawn.get("guidance", _GUIDANCE if shape.text_tokens else 1.5))
    fields: dict[str, Any] = {"guidance": guidance, "dtype": "bf16"}
    if "guidance_channels" in drawn and drawn["guidance_channels"] < shape.in_channels:
        fields["guidance_channels"] = drawn["guidance_channels"]
    if "guidance_renorm" in drawn:
        fields["guidance_renorm"] = drawn["guidance_renorm"]
    clock = base_clock(pipeline.base)
    steps = sorted({max(2, round(share * most)) for share in _SHARES})
    blocks = shape.num_blocks
    solvers = [*(["base"] if not clock.is_stochastic else []), "ab2", "unipc"]
    space: dict[str, Any] = {
        "segments": [{"family": "dense", "depth": "rest"}],
        "solver": _choice(solvers),
        "cache": {
            "full": _choice([0.3, 0.4, 0.5, 0.7, 1.0]),
            "warmup": {"int": [1, 3]},
            "skew": _choice([0.0, 1.0]),
            "nulls": _choice([0.0, 0.5, 1.0]),
            "first": _choice(sorted({min(1, blocks - 1), min(3, blocks - 1)})),
        },
    }
    if SamplingSettings(guidance=guidance).is_guided(shape):
        space["guidance"] = {
            "from": _choice([0.0, 0.2]),
            "to": _choice([0.8, 1.0]),
            "every": _choice([1, 2, 3]),
        }
    if blocks > 1:
        at = sorted({max(1, blocks * part // 4) for part in (1, 2, 3)})
        space["gain"] = {"stream": _choice([0.95, 1.0]), "at": _choice(at)}
    space["sampler_steps"] = _choice(steps)
    values: dict[str, Any] = {
        "name": f"{_name(pipeline)}_free",
        "base": {
            "backbone": pipeline.architecture.name,
            "checkpoint": pipeline.checkpoint,
            **({"revision": pipeline.revision} if pipeline.revision else {}),
            "dtype": "bf16",
        },
        **({"data": {"name": "captions", "root": SHIPPED_PROMPTS}} if shape.text_tokens else {}),
        "space": space,
        "objectives": {"quality": {"images": _FEW, "distance": "ssim"}, "latency": {"batch": 1}},
        "sampling": fields,
        "trial": {"updates": 0},
        "search": {"trials": 200, "seed": 0},
        "resources": {"gpu": 1, "cpu": 8},
    }
    dense = _dense_plan(values, steps=most)
    call = dense.macs / len(dense.steps) / dense.target.rows
    if len(shape.sample_size) == 3:
        tokens = shape.grid.num_tokens
        values["objectives"]["latency"]["batch"] = max(1, min(32, 8192 // tokens))
        if call <= _MOST_MACS:
            values["objectives"]["quality"] = {"images": _MANY, "extractor": "inception", "reference": "base"}
            values["objectives"]["quality"]["report"] = ["precision", "recall"]
    parse_config(values)
    return "\n".join(
        [*_head(pipeline, values, dense, call), *_body(values), *_trained(shape, pipeline.architecture), ""]
    )


def _choice(values: list[Any]) -> dict[str, Any]:
    return {"choice": values}


def _dense_plan(values: Mapping[str, Any], *, steps: int) -> Plan:
    space = parse_config(values).search_space
    return space.plan(Candidate(schedule=DensitySchedule.all_dense(space.num_blocks), sampling=Sampling(steps=steps)))


def _name(pipeline: Pipeline) -> str:
    last = pipeline.checkpoint.removeprefix(PREFIX).rstrip("/").rsplit("/", 1)[-1] or "model"
    name = "".join(letter if letter.isalnum() else "_" for letter in last.lower()).strip("_")
    return name or "model"


def _head(pipeline: Pipeline, values: Mapping[str, Any], dense: Plan, call: float) -> list[str]:
    """Say what the space is, what it needs, and what it costs."""
    shape, architecture = dense.target.shape, pipeline.architecture
    quality, rows = values["objectives"]["quality"], dense.target.rows
    is_video = len(shape.sample_size) == 4
    images, what = quality["images"], "videos" if is_video else "images"
    is_set, most = "reference" in quality, max(values["space"]["sampler_steps"]["choice"])
    reference = images * rows * max(2 * most, 20)
    trial, trials = images * rows * most, values["search"]["trials"]
    hours = (reference + trials * trial) * 2 * call / _FLOPS_A_SECOND / 3600
    where = architecture.pipeline if pipeline.name is None else pipeline.name
    lines = [
        f"{pipeline.checkpoint}: {where or 'a model'} with a {architecture.class_name or architecture.name},"
        f" {shape.grid.num_tokens} tokens, {_millions(dense.params)} parameters.",
        f"Written by `flexsearch init {pipeline.checkpoint}`, from its configuration.",
        "Nothing is trained: how it samples is all that is searched.",
        "`flexsearch plan FILE` works anywhere; `flexsearch run FILE` needs",
        f"  - the base: {_download(pipeline)}; the transformer takes {_bytes(2 * dense.params)} in bf16;",
    ]
    if shape.text_tokens:
        lines.append(
            f"  - its text encoders, once, for the 200 prompts that come with flexsearch (it reads {shape.text_tokens} "
            "tokens of each); yours: data.root=FILE, one a line;"
        )
    if is_set:
        lines.append("  - Inception weights, which torch-fidelity downloads (or objectives.quality.weights=FILE);")
    lines += [
        "  - a GPU (or a small model and resources.gpu=0). objectives.latency.batch is what is timed: make it yours.",
        "Quality: "
        + (
            "distance to the base's own converged samples as a set (rFID); no data set is needed."
            if is_set
            else "structural similarity to the base's own converged samples, in pairs of the same noise (dssim)."
        ),
        f"Cost, counted in model calls of one row ({_macs(call)} each): {_count(reference)} for the reference, at most "
        f"{_count(trial)} a trial ({images:,} {what}).",
        f"An estimate of all {trials} trials, at an assumed {_FLOPS_A_SECOND / 1e12:.0f} TFLOP/s: at most "
        f"{_hours(hours)}. Fewer {what}, fewer trials or `--hours` cut it.",
        f"yaml-language-server: $schema={SCHEMA}",
    ]
    return [f"# {line}" for line in lines]


def _download(pipeline: Pipeline) -> str:
    if checkpoint_folder(pipeline.checkpoint).is_dir():
        return f"the weights in {pipeline.checkpoint}"
    licence = pipeline.architecture.licences.get(pipeline.checkpoint)
    said = f" ({licence})" if licence else ", under its publisher's licence"
    return f"`hf download {pipeline.checkpoint} --local-dir DIR` and base.checkpoint=DIR{said}"


def _hours(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:.0f} days of one device"
    if hours >= 2:
        return f"{hours:.0f} hours of one device"
    return f"{hours * 60:.0f} minutes of one device" if hours * 60 >= 1 else "a minute of one device"


def _millions(params: int) -> str:
    return f"{params / 1e6:,.0f} M" if params >= 10e6 else f"{params / 1e6:.2g} M"


def _bytes(num: int) -> str:
    return f"{num / 1e9:.1f} GB" if num >= 0.1e9 else f"{num / 1e6:.2g} MB"


def _macs(macs: float) -> str:
    return f"{macs / 1e12:.2g} TMACs" if macs >= 1e12 else f"{macs / 1e9:.3g} GMACs"


def _count(calls: float) -> str:
    return f"{calls / 1e6:.2g} M" if calls >= 1e6 else f"{calls / 1e3:.3g} K"


_SAID = {
    "solver": "the base's own, and second order",
    "cache": "residuals reused over steps: the share that is computed in full, and where",
    "guidance": "the part of time in which both rows are computed, there at every n-th full step",
    "gain": "of the stream, before these blocks",
    "sampler_steps": "the last is how its publishers draw",
}


def _body(values: Mapping[str, Any]) -> list[str]:
    """Write the values, one line each; mappings below them in flow style."""
    lines = []
    for name, value in values.items():
        if name != "space":
            lines.append(f"{name}: {_flow(value)}")
            continue
        lines.append("space:")
        for part, domain in value.items():
            said = f"  # {_SAID[part]}" if part in _SAID else ""
            lines.append(f"  {part}: {_flow(domain)}{said}")
    return lines


def _trained(shape: TransformerShape, architecture: Architecture) -> list[str]:
    """Say what would search trained schedules too, where blocks are enough for their layouts.

    By the base's own samples first where it has text encoders of its own: few have images for models of this size.
    """
    side = min(shape.grid.height, shape.grid.width)
    if shape.num_blocks < _FEWEST_BLOCKS or side < 8:
        return []
    depth = max(1, shape.num_blocks // 9)
    low, high = max(1, shape.num_blocks // 9), max(1, shape.num_blocks // 6)
    clean, noise = (sorted({max(2, side * part // 16) for part in parts}) for parts in ((8, 10, 12), (4, 6, 8)))
    taught = [
        "# Schedules that are trained (blocks on fewer tokens) are searched too, with data (`flexsearch encode`) and"
    ]
    if architecture.has_own_encoders:
        taught = [
            "# Schedules that are trained (blocks on fewer tokens) are searched too, taught by the base's own samples,",
            "# (or by images of `flexsearch encode`, data: {name: latents, root: FOLDER}, without teacher_samples) and",
        ]
    lines = [
        *taught,
        "# these in place of `segments` and `trial`, and without base.dtype, since weights are trained in fp32:",
        "#   segments:",
        f"#     - {{family: pooling, depth: {{int: [1, {depth}]}}}}",
        f"#     - {{family: sdtm, repeat: {{int: [{low}, {high}]}}, merge: 1, sparse: rest, dense: 0}}",
        f"#     - {{family: dense, depth: {{int: [1, {depth + 1}]}}}}",
        f"#   timetable: {{stages: 4, clean_grid: {{choice: {clean}}}, noise_grid: {{choice: {noise}}}}}",
        "#   dense: {choice: [false, true]}",
    ]
    if architecture.has_own_encoders:
        return [
            *lines,
            "# teacher_samples: {images: 2048, steps: [4, 6]}",
            "# trial: {updates: 300, batch: 16, dtype: bf16, ema_decay: 0.99}",
        ]
    return [
        *lines,
        "# data: {name: latents, root: FOLDER}",
        "# warm_start: {updates: 20000, batch: 64, dtype: bf16}",
        "# trial: {updates: 1000, batch: 64, dtype: bf16, ema_decay: 0.999}",
    ]


def _flow(value: Any) -> str:
    """Write a value in YAML's flow style; text is quoted where it is no plain word."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and not (value.replace("_", "").replace("-", "").isalnum() and value[0].isalpha()):
        return json.dumps(value)
    return json.dumps(value) if not isinstance(value, str) else value
