"""Every call of flexsearch that the golden tests make, in one place.

The values were made by `tests/golden/make.py` of commit 04e6cd8, with the code of 0.1.0, which it needs.

When an interface changes, this file follows it; the stored values never do. Names of weights are those of 0.1.0, in
which the values were made: a later name is translated here. Letters: B batch, C channels, F frames, H x W data.
"""

import json
import math
import random
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from flexsearch.cli.app import main
from flexsearch.config import load_config
from flexsearch.diffusion.pipeline import FlexDiTPipeline
from flexsearch.diffusion.sampling import denoise, plan_of
from flexsearch.diffusion.sampling_settings import SamplingSettings
from flexsearch.latency.profile import LatencyProfile
from flexsearch.models.architectures import architecture_named
from flexsearch.models.backbones import backbone_named
from flexsearch.models.flexdit import FlexDiT
from flexsearch.schedule.candidate import Candidate
from flexsearch.schedule.density import DensitySchedule
from flexsearch.schedule.plan import Plan, Target, lower, stage_graphs
from flexsearch.schedule.presets import PRESETS, dit_shape, paper_schedule
from flexsearch.schedule.role import ROLES
from flexsearch.schedule.sampling import Sampling
from flexsearch.schedule.shape import TransformerShape
from flexsearch.schedule.step import Step
from flexsearch.space.search_space import SearchSpace
from flexsearch.study.baselines import baselines_of
from flexsearch.trial.shared_files import warm_start_digest

HERE = Path(__file__).parent
SPACES = HERE.parents[1] / "search_spaces"


def space_file(name: str) -> Path:
    """The file of a shipped space; of the quickstart, as it was before sampling was searched."""
    own = HERE / f"{name}.yaml"
    return own if own.exists() else SPACES / f"{name}.yaml"


def read_json(name: str) -> Any:
    """A stored file."""
    return json.loads((HERE / name).read_text())


# Candidates


def candidate_of(values: Mapping[str, Any]) -> Candidate:
    return Candidate.from_dict(values)


def candidate_dict(candidate: Candidate) -> dict[str, Any]:
    return candidate.to_dict()


def digest(candidate: Candidate) -> str:
    return candidate.digest


def schedule_digest(candidate: Candidate) -> str:
    return candidate.schedule.digest


def shape_of_space(name: str) -> TransformerShape:
    """Sizes of the base of a shipped space."""
    return load_config(space_file(name)).shape


def shape_of_preset(name: str) -> TransformerShape:
    return PRESETS[name].shape


def preset(name: str, *, sampler_steps: int) -> Candidate:
    return Candidate(schedule=PRESETS[name].schedule, sampling=Sampling(steps=sampler_steps))


def paper(shape: TransformerShape, *, sampler_steps: int) -> Candidate:
    """The paper's schedule, scaled to `shape`."""
    schedule = paper_schedule(num_blocks=shape.num_blocks, grid=shape.grid)
    return Candidate(schedule=schedule, sampling=Sampling(steps=sampler_steps))


def stage_macs(candidate: Candidate, shape: TransformerShape) -> list[int]:
    """MACs of one forward pass in every stage, data first: what lies outside the blocks, and the blocks. In 0.1.0 it
    read the text as well: S tokens of D channels through two matrices, and in every block into keys and values."""
    text = shape.text_tokens * (shape.text_channels + shape.width * (1 + 2 * shape.num_blocks)) * shape.width
    return [graph.macs(shape) + text for graph in stage_graphs(candidate.schedule, shape.grid)]


def mean_macs(candidate: Candidate, shape: TransformerShape, times: Sequence[float] | None = None) -> float:
    """MACs of one forward pass, averaged over `times`, or over uniform diffusion time."""
    macs, timetable = stage_macs(candidate, shape), candidate.schedule.timetable
    if times is not None:
        return fmean(macs[timetable.stage_of(time)] for time in times)
    return sum((high - low) * one for (low, high), one in zip(pairwise(timetable.edges), macs, strict=True))


def params(candidate: Candidate, shape: TransformerShape) -> int:
    return lower(candidate, Target(shape=shape)).params


def stages_at(candidate: Candidate, shape: TransformerShape, times: Sequence[float]) -> list[int]:
    """The stage of every sampler step."""
    return [candidate.schedule.timetable.stage_of(time) for time in times]


# Spaces


def draws(name: str, num: int, *, seed: str) -> list[Candidate]:
    """Candidates of a shipped space from `num` draws of one generator."""
    space, generator = load_config(space_file(name)).search_space, random.Random(seed)
    return [space.build(space.sample(generator)) for _ in range(num)]


def space_facts(name: str) -> dict[str, Any]:
    """What a shipped space is, as JSON values."""
    config = load_config(space_file(name))
    space: SearchSpace = config.search_space
    values = {parameter: list(domain.values or ()) for parameter, domain in space.domains.items()}
    chosen = [
        {parameter: column[round(share * (len(column) - 1))] for parameter, column in values.items()}
        for share in (0.0, 0.5, 1.0)
    ]
    return {
        "parameters": values,
        "size": space.size,
        "time_edges": list(space.time_edges),
        "recover_blocks": sorted(block for role, block in space.role_blocks() if role == "recover"),
        "built": [{"parameters": one, "digest": space.build(one).digest} for one in chosen],
        "drawn": [one.digest for one in draws(name, 5, seed="golden")],
        "baselines": [[one.name, one.candidate.digest] for one in baselines_of(space, config.search)],
    }


def warm_start_key(space: Path) -> str:
    """The key under which the warm start of a space is kept."""
    return warm_start_digest(load_config(space).trial_settings)


# Models: exact weights and inputs, float64


def exact(name: str, shape: Sequence[int]) -> Tensor:
    """float64 values in [-1, 1) that depend on name, place and shape alone, each exact in float32.

    Bits of splitmix64 (Steele, Lea & Flood 2014), so that no version of torch, no generator and no machine has a say.
    """
    bits = np.arange(math.prod(shape), dtype=np.uint64) + (np.uint64(zlib.crc32(name.encode())) << np.uint64(32))
    with np.errstate(over="ignore"):
        bits = bits * np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    return torch.from_numpy((bits >> np.uint64(41)).astype(np.float64) / 2**22 - 1).reshape(tuple(shape))


class ExactTime(nn.Module):
    """diffusers' sinusoidal features of the timestep in float64.

    diffusers computes them in float32 whatever the model's precision is; at t = 700 a last bit of the frequency, which
    differs from machine to machine, is 4e-5 of the feature.
    """

    def __init__(self, features: Any) -> None:
        super().__init__()
        half = features.num_channels // 2
        scale = -math.log(10000) / (half - features.downscale_freq_shift)
        self.frequencies = [math.exp(scale * index) for index in range(half)]
        self.flip = features.flip_sin_to_cos

    def forward(self, timestep: Tensor) -> Tensor:
        rows = []
        for time in timestep.tolist():
            sines = [math.sin(time * frequency) for frequency in self.frequencies]
            cosines = [math.cos(time * frequency) for frequency in self.frequencies]
            rows.append(cosines + sines if self.flip else sines + cosines)
        return torch.tensor(rows, dtype=torch.float64)


def in_float64(model: FlexDiT) -> FlexDiT:
    """The model in float64 throughout."""
    for module in list(model.modules()):
        if hasattr(module, "time_proj"):
            module.time_proj = ExactTime(module.time_proj)
    return model.double().eval()


def _fill(module: nn.Module, prefix: str) -> None:
    """Every weight from its name; the embedders of all blocks of a DiT alike, so that they are one."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            head, _, tail = name.partition(".norm1.emb.")
            known = f"{prefix}norm1.emb.{tail}" if tail else f"{prefix}{head}"
            weight.copy_(exact(known, weight.shape) * (0.25 if weight.ndim > 1 else 0.1))


def golden_model(backbone: str, config: Mapping[str, Any], schedule: Mapping[str, Any]) -> FlexDiT:
    """A model whose weights, merges included, come from their names."""
    base = backbone_named(backbone, field="backbone").base_class(**config)
    _fill(base, "base.")
    model = FlexDiT.from_base(base, backbone=backbone, schedule=DensitySchedule.from_dict(schedule))
    _fill(model.merges, "merges.")
    return in_float64(model)


def tiny_paper_schedule(backbone: str, config: Mapping[str, Any]) -> dict[str, Any]:
    shape = architecture_named(backbone, field="backbone").shape_of(config)
    return paper_schedule(num_blocks=shape.num_blocks, grid=shape.grid).to_dict()


def condition(backbone: str, config: Mapping[str, Any], *, batch: int) -> dict[str, Tensor]:
    """What the model is conditioned on; of captions, every second one is shorter."""
    if backbone == "dit":
        return {"class_labels": torch.arange(batch) * 3 % config["num_embeds_ada_norm"]}
    mask = torch.ones(batch, 7, dtype=torch.int64)
    mask[1::2, 5:] = 0
    states = exact("caption", (batch, 7, config["caption_channels"])).float()
    return {"encoder_hidden_states": states, "encoder_attention_mask": mask}


def no_condition(backbone: str, config: Mapping[str, Any], *, batch: int) -> dict[str, Tensor]:
    if backbone == "dit":
        return {"class_labels": torch.full((batch,), config["num_embeds_ada_norm"])}
    given = condition(backbone, config, batch=batch)
    return {**given, "encoder_hidden_states": torch.zeros_like(given["encoder_hidden_states"])}


def sample_shape(model: FlexDiT) -> tuple[int, ...]:
    return model.shape.sample_size


def model_output(model: FlexDiT, condition: Mapping[str, Tensor], times: Sequence[float]) -> Tensor:
    """(B, out_channels, ...) float64 output on exact noise at `times`, in [0, 1], one per row."""
    noisy = exact("noisy", (len(times), *sample_shape(model))) * 1.7
    timestep = torch.tensor([1000 * time for time in times], dtype=torch.float64)
    with torch.inference_mode():
        output: Tensor = model(noisy, timestep, **condition).sample
    return output


def ddim() -> DDIMScheduler:
    """DDIM over DiT's linear betas; samples are not clipped, as a clip would hide differences."""
    return DDIMScheduler(clip_sample=False)


def draw(
    model: FlexDiT,
    *,
    given: dict[str, Tensor],
    none: dict[str, Tensor],
    batch: int,
    sampler_steps: int,
    guidance: float,
    guidance_channels: int | None,
) -> Tensor:
    """(B, C, ...) float32 samples by DDIM from exact noise."""
    settings = SamplingSettings(guidance=guidance, guidance_channels=guidance_channels)
    return denoise(
        model,
        ddim(),
        plan_of(model, ddim(), Sampling(steps=sampler_steps), settings),
        noise=(exact("noise", (batch, *sample_shape(model))) * 1.7).float(),
        condition=given,
        none=none,
        settings=settings,
    )


def load_model(folder: Path) -> FlexDiT:
    model: FlexDiT = FlexDiT.from_pretrained(folder)
    return model.eval()


def schedule_of_model(model: FlexDiT) -> dict[str, Any]:
    return model.schedule.to_dict()


def load_pipeline(folder: Path) -> FlexDiTPipeline:
    pipeline: FlexDiTPipeline = FlexDiTPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


# What 0.1.0 printed, in today's words

RENAMED = {
    "drift": "paired_distance",
    "plan": "stages",
    "operations": "route",
    "kind": "role",
    "stands": "confirmed",
    "did not stand": "not confirmed",
}
"""Keys and names, old to new; values stay."""


def _drawn_today(line: str) -> str:
    """A line of a drawn schedule: roles were the first four letters of their names, and are letters."""
    if not line.startswith("role"):
        return line
    letters = {name[:4]: role.letter for name, role in ROLES.items() if "_" not in name}
    return line[:10] + " ".join(f"{letters[name]:>4}" for name in line[10:].split())


def as_of_today(stored: Any, *, steps: int | None = None) -> Any:
    """The same facts as they are printed today: renamed keys, MACs of an image in place of those of its average forward
    pass (no guidance was used), protocols without the scheduler's class and with the spacing that it stood for. Rank
    correlations and predictions are printed no more, steps are."""
    if isinstance(stored, list):
        return [as_of_today(one, steps=steps) for one in stored]
    if isinstance(stored, str):
        return RENAMED.get(stored, stored)
    if not isinstance(stored, dict):
        return stored
    steps = stored.get("schedule", {}).get("sampler_steps", steps) if "trial" in stored else steps
    found = {RENAMED.get(key, key): as_of_today(value, steps=steps) for key, value in stored.items()}
    for gone in ("rank_correlations", "outlook", "promising"):
        found.pop(gone, None)
    if found.pop("sampler", None) == "FlowMatchEulerDiscreteScheduler":
        found["spacing"] = "scheduler"
    if "drawn" in found and steps is not None:  # steps stand above the blocks
        found["drawn"] = [f"{'steps':<10}" + "F" * steps, *map(_drawn_today, found["drawn"])]
    if "macs" in found and steps is not None:
        found["macs"] = stored["macs"] * steps
    if found.get("name") == "macs" and steps is not None:
        found |= {"value": stored["value"] * steps, "unit": "MACs/image"}
    return found


# Latency profile


@dataclass(frozen=True)
class OldProfile:
    """A profile of 0.1.0, which held the sampler's times that a plan holds today."""

    profile: LatencyProfile
    times: Mapping[int, Sequence[float]]


def profile_of(values: Mapping[str, Any]) -> OldProfile:
    operations = [{**one, "role": one["kind"], "amounts": []} for one in values["operations"]]
    for one in operations:
        del one["kind"]
    times = {int(steps): visited for steps, visited in values["sampler_times"].items()}
    kept = {key: value for key, value in values.items() if key != "sampler_times"}
    return OldProfile(LatencyProfile.from_dict({**kept, "operations": operations}), times)


def predict_ms(old: OldProfile, candidate: Candidate) -> float:
    shape = dit_shape(num_blocks=old.profile.num_blocks, width=16, side=old.profile.grid.height)
    graphs, stage_of = stage_graphs(candidate.schedule, old.profile.grid), candidate.schedule.timetable.stage_of
    steps = tuple(Step(time=time, graph=graphs[stage_of(time)]) for time in old.times[candidate.sampling.steps])
    return old.profile.predict(Plan(candidate=candidate, target=Target(shape=shape), steps=steps))


# Command line


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


def run_command(
    arguments: Sequence[object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Outcome:
    """Runs `flexsearch ARGUMENTS` in this process."""
    monkeypatch.setattr(sys, "argv", ["flexsearch", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    return Outcome(int(ended.value.code or 0), printed.out, printed.err)
